"""The command line's surface: help, versions, wrong usage, unreachable sources; nothing here starts a run."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import VERBS, main
from pipeline.cli.comparing import _leave_network_out
from pipeline.cli.options import run_config, run_file
from pipeline.cli.output import print_json
from streamer.config import DetectorConfig, RunConfig, SecurityConfig, ViewConfig, load_config, to_toml
from streamer.errors import UsageError

HEAVY = {"numpy", "scipy", "h5py", "zmq", "msgspec", "torch", "openvino", "PySide6", "simulator", "gui"}


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("atomstream: ")
    return lines[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_of_its_own(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr()
    assert f"usage: atomstream {verb}" in shown.out
    assert "--json" in shown.out
    assert not shown.err


def test_the_main_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {verb for verb in VERBS if any(line.split()[:1] == [verb] for line in shown)} == set(VERBS)


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("atomstream 0.")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from pipeline.cli import main; main(['demo', '--help']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(shown.stdout.splitlines()[-1].replace("'", '"')))
    assert "pipeline" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "VERB"),
        (["watch"], "invalid choice: 'watch'"),
        (["live"], "SOURCE"),
        (["demo", "--frobnicate"], "--frobnicate"),
        (["demo", "--frames", "0"], "at least 1"),
        (["demo", "--frames", "many"], "invalid int value"),
        (["demo", "--headless", "--size", "500"], "multiple of 16"),
        (["demo", "--headless", "--dose", "-3"], "more than 0"),
        (["demo", "--headless", "--batch", "0"], "batch_frames"),
        (["demo", "--headless", "--maps", "often"], "every=N"),
        (["demo", "--headless", "--fault", "gremlins=0.1"], "unknown fault 'gremlins'"),
        (["demo", "--headless", "--out", "no/such/folder/x.nxs"], "no folder"),
        (["demo", "--config", "nowhere.toml"], "cannot read configuration nowhere.toml"),
        (["live", "http://127.0.0.1"], "is not a source"),
        (["live", "dectris2://127.0.0.1:1", "--no-record", "--out", "x.nxs"], "exclude each other"),
        (["record", "dectris2://127.0.0.1:1"], "--out"),
        (["live", "dectris2://127.0.0.1:1", "--server-key", "x.key"], "--server-key needs --key"),
        (["demo", "--headless", "--view", "tcp://*:5556"], "--insecure"),
        (["demo", "--headless", "--fps", "-1"], "expected 0 or more frames a second"),
        (["demo", "--headless", "--fps", "nan"], "expected 0 or more frames a second"),
        (["simulate", "--movie", "a.nxs", "--fps", "fast"], "expected 0 or more frames a second"),
        (["record", "dectris2://127.0.0.1:1", "--out", "x.nxs", "--images", "5"], "need --arm"),
        (["record", "dectris2://127.0.0.1:1", "--out", "x.nxs", "--arm", "dcu"], "no address of a detector"),
        (["tee", "dectris2://127.0.0.1:1"], "nobody to pass the stream on to"),
        (["tee", "dectris2://127.0.0.1:1", "--lossless", "tcp://0.0.0.0:5555"], "--insecure"),
        (["tee", "dectris2://127.0.0.1:1", "--best-effort", "tcp://127.0.0.1:*", "--queue", "0"], "queue"),
        (["simulate", "--stream", "tcp://0.0.0.0:5555", "--frames", "2"], "--insecure"),
        (["keys", "no/such/folder/mine"], "cannot make no/such/folder/mine.key_secret"),
        (["simulate", "--dataset", "b.h5", "--material", "silver"], "gold-columns"),
        (["simulate", "--movie", "a.nxs", "--material", "gold"], "there is no movie of gold"),
        (["simulate", "--stream", "tcp://127.0.0.1:*", "--material", "gold"], "there is no movie of gold"),
        (["simulate"], "one of the arguments"),
        (["simulate", "--movie", "a.nxs", "--dataset", "b.h5"], "not allowed with"),
        (["train", "--data", "nowhere.h5"], "there is no nowhere.h5"),
        (["evaluate", "--data", "nowhere.h5"], "there is no nowhere.h5"),
        (
            ["evaluate", "--material", "gold-columns"],
            "data/gold-columns.h5 --material gold-columns",
        ),
        (["train", "--material", "gold-columns", "--task", "shapes"], "gold-columns has heights and denoise"),
        (["simulate", "--dataset", "b.h5", "--material", "gold", "--tilts-and-films"], "on membranes"),
        (["export", "nowhere.pt", "--out", "x.onnx"], "there is no checkpoint nowhere.pt"),
        (["train", "--widths", "64,x,96,160"], "expected 3 numbers, as in 64,96,160"),
        (["train", "--widths", "64,0,160"], "expected 3 numbers, as in 64,96,160"),
        (["gui", "nonsense"], "nonsense"),
        (["channels", "a.nxs", "--offset-s", "3"], "for the times of --csv"),
        (["tell", "tcp://127.0.0.1:1", "stop", "--age-s", "3"], "--age-s is for a note"),
        (["tell", "tcp://127.0.0.1:1", "status", "--timeout-s", "nan"], "expected seconds"),
        (["analyse", "tcp://127.0.0.1:1", "--connect-timeout-s", "inf"], "expected seconds"),
        (["reprocess", "a.nxs", "--timeout-s", "-1"], "expected seconds"),
        (["simulate", "--dataset", "b.h5", "--particles", "0"], "--particles 0: expected at least 1"),
        (["simulate", "--movie", "a.nxs", "--truth", "b.h5"], "--truth is for --stream"),
        (["simulate", "--movie", "a.nxs", "--workers", "3"], "are for --dataset"),
        (["bench", "--size", "0"], "--size 0: expected at least 1"),
        (["bench", "--backend", "cuda"], "invalid choice: 'cuda'"),
        (["bench", "--compare", "nowhere.json"], "cannot read nowhere.json: No such file"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert message in one_line(shown.err)
    assert not shown.out
    assert not list(tmp_path.rglob("*.nxs"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["bench", "--compare", "FILE"], "FILE is no bench.json of this program"),
        (["bench", "--out", "FILE/bench"], "cannot make the folder FILE/bench: Not a directory"),
        (["simulate", "--dataset", "FILE"], "FILE cannot be opened"),
        (["simulate", "--stream", "tcp://127.0.0.1:*", "--truth", "FILE"], "FILE exists and is never"),
        (["train", "--data", "FILE"], "FILE cannot be opened"),
        (["train", "--data", "FILE", "--material", "gold"], "FILE cannot be opened"),
        (["evaluate", "--data", "FILE"], "FILE cannot be opened"),
        (["export", "FILE", "--out", "x.onnx"], "FILE is no checkpoint of"),
        (["live", "dectris2://127.0.0.1:1", "--config", "FILE"], "configuration FILE: "),
    ],
)
@pytest.mark.parametrize("content", [b"3", b'{"backends": {}, "recording_alone": {}}', b"\x89HDF\xff"])
def test_a_file_of_another_kind_is_named_in_one_line(
    argv: list[str],
    message: str,
    content: bytes,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_bytes(content)
    assert main(argv) == 2
    assert message in one_line(capsys.readouterr().err)
    assert (tmp_path / "FILE").read_bytes() == content


@pytest.mark.parametrize(
    "argv",
    [
        ["record", "dectris2://127.0.0.1:1", "--out", "locked/a.nxs"],
        ["report", "run.nxs", "--out", "locked/a.html"],
        ["export", "locked/a.pt", "--out", "x.onnx"],
        ["keys", "locked/me"],
    ],
)
def test_a_folder_that_is_closed_to_the_user_is_named_in_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: Path, *args: Any, **named: Any) -> Any:
            if path.parts[:1] == ("locked",):
                raise PermissionError(13, "Permission denied", str(path))
            return ask(path, *args, **named)

        return asked

    for name in ("exists", "open"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    assert main(argv) == 2
    assert "no permission to use locked" in one_line(capsys.readouterr().err).replace(os.sep, "/")


@pytest.mark.skipif(sys.platform == "win32", reason="its pipes break otherwise")
def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m pipeline.cli keys {tmp_path}/mine | true"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=buffered)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_wrong_usage_under_json_is_also_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "nonsense", "--json"]) == 2
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert record["ok"] is False
    assert "nonsense" in record["error"]
    assert "nonsense" in one_line(shown.err)


@pytest.mark.parametrize("verb", ["live", "record"])
def test_a_source_that_does_not_answer_is_one_line_and_status_1(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        source = f"dectris2://127.0.0.1:{unused.getsockname()[1]}"
        options = ["--out", "x.nxs", "--connect-timeout-s", "0.2"]
        assert main([verb, source, *options, *(["--headless"] if verb == "live" else [])]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2  # what it was about to do, and why it could not
    assert f"nothing answers at {source}" in errors[1]
    assert not list(tmp_path.rglob("*.nxs"))


@pytest.mark.parametrize("argv", [["demo", "--headless"], ["record", "dectris2://127.0.0.1:1"], ["simulate"]])
def test_an_existing_file_is_never_overwritten(
    argv: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    precious = tmp_path / "precious.nxs"
    precious.write_bytes(b"years of work")
    assert main([*argv, "--movie" if argv[0] == "simulate" else "--out", str(precious)]) == 2
    assert "never overwritten" in one_line(capsys.readouterr().err)
    assert precious.read_bytes() == b"years of work"


def parse(*argv: str) -> object:
    from pipeline.cli import make_parser

    return make_parser().parse_args(argv)


def test_options_win_over_the_configuration_file_and_that_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[analysis]\npolicy = "latest"\nbatch_frames = 4\n[view]\nrate_hz = 5.0\n')
    config = run_config(parse("live", "dectris2://h:1", "--config", str(path), "--batch", "2"))  # type: ignore[arg-type]
    assert config.source.address == "dectris2://h:1"
    assert config.analysis.policy == "latest"
    assert config.analysis.batch_frames == 2
    assert config.view.rate_hz == 5.0
    assert config.analysis.queue_frames == 16


def test_values_that_a_verb_sets_win_over_all() -> None:
    config = run_config(parse("demo", "--maps", "every=7"), record__path="x.nxs")  # type: ignore[arg-type]
    assert config.record.path == "x.nxs"
    assert config.record.maps_every == 7


def test_a_wrong_value_in_the_configuration_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[analysis]\nbatch = 4\n")
    with pytest.raises(UsageError, match="batch"):
        run_config(parse("demo", "--config", str(path)))  # type: ignore[arg-type]


def test_the_documented_configuration_is_the_default_one() -> None:
    documented = (Path(__file__).parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
    assert f"```toml\n{to_toml(RunConfig()).strip()}\n```" in documented


def test_a_recorded_run_is_analysed_again_without_its_connections(tmp_path: Path) -> None:
    path = tmp_path / "configuration.toml"
    lines = (
        '[source]\naddress = "dectris2://dcu"\nserver_key = "tee.key"',
        "[ingest]\ncontinuous = true\nend_timeout_s = 2.0",
        '[view]\nbind = "tcp://0.0.0.0:5556"',
        '[security]\nkey = "gone.key_secret"\nclients = ["gone.key"]',
        '[detector]\narm = "http://dcu"',
    )
    path.write_text("\n".join(lines))
    _leave_network_out(path)
    config = load_config(path)
    assert (config.source.address, config.source.server_key) == ("dectris2://dcu", "")
    assert (config.ingest.continuous, config.ingest.end_timeout_s) == (False, 2.0)
    assert (config.view, config.security, config.detector) == (
        ViewConfig(),
        SecurityConfig(),
        DetectorConfig(),
    )


def test_runs_without_a_name_get_new_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.cli.options.time.strftime", lambda form: "20300101-000000")
    first = run_file("demo", None)
    first.touch()
    assert first == Path("runs/demo-20300101-000000.nxs")
    assert run_file("demo", None) == Path("runs/demo-20300101-000000-2.nxs")


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": None}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": None}}
