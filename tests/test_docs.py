"""What README and docs name exists: commands and options, keys, links, files, modules, targets, extras."""

import argparse
import ast
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from pipeline.cli import VERBS, make_parser
from pipeline.cli.options import _PLACES
from pipeline.plan import RunOutcome
from pipeline.report import summarise
from simulator.faults import FaultKind
from streamer.config import RunConfig, TriggerConfig
from streamer.errors import MessageError, UsageError
from streamer.file_layout import CHANGES, COLUMNS, FIRST_ROW, LEDGER, SUMMARY
from streamer.latency import STAGES
from streamer.ledger import FrameIdJumpError
from streamer.particle_table import PARTICLES, PARTICLES_FIRST_ROW
from streamer.records import FrameStatus
from streamer.swmr import ColumnSpec
from streamer.wire import _Image, _Start

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/decisions/*.md",
        "docs/evaluation/*.md",
        "pipeline/models/*.md",
    )
    for page in ROOT.glob(pattern)
)
PACKAGES = ("streamer", "pipeline", "gui", "simulator", "training", "benchmarks", "tests")
FOREIGN = {"--nproc-per-node", "--no-python"}  # torchrun's

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, *languages: str) -> Iterator[str]:
    for language, body in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL):
        if language in languages:
            yield textwrap.dedent(body)


def without_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands between backticks in the prose."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_blocks(text))]


def shell_lines(text: str) -> list[str]:
    return [line for body in blocks(text, "sh", "bash") for line in body.replace("\\\n", " ").splitlines()]


def words_of(line: str, *program: str) -> list[str] | None:
    """Give the words behind `program`, if the line is a command of it."""
    if program[0] not in line:
        return None
    words = shlex.split(line.strip().rstrip("&"), comments=True)
    return words[len(program) :] if words[: len(program)] == list(program) else None


@cache
def parser() -> argparse.ArgumentParser:
    return make_parser()


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    (verbs,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(verbs.choices)


@cache
def options(verb: str) -> frozenset[str]:
    return frozenset(option for action in parsers()[verb]._actions for option in action.option_strings)


@cache
def options_of_scripts() -> frozenset[str]:
    scripts = [script for package in PACKAGES for script in (ROOT / package).rglob("*.py")]
    found = (re.findall(r'"(--[\w-]+)"', script.read_text(encoding="utf-8")) for script in scripts)
    return frozenset(option for options in found for option in options)


def anchor(heading: str) -> str:
    """Make a heading's anchor as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@every_page
def test_commands_in_blocks_are_whole_and_understood(page: Path) -> None:
    for line in shell_lines(page.read_text(encoding="utf-8")):
        words = words_of(line, "atomstream")
        if words is not None:
            try:
                parser().parse_args(words)
            except UsageError as error:
                pytest.fail(f"{line}: {error}")
            named = {word for word in words if word.startswith("--")}
            assert named <= options(words[0]), f"{line}: an option is not spelt out"


@every_page
def test_commands_in_the_prose_name_verbs_and_options_of_theirs(page: Path) -> None:
    for span in spans(page.read_text(encoding="utf-8")):
        words = words_of(span, "atomstream") or words_of(span, "torchrun") or []
        verb = next((word for word in words if word in VERBS), None)
        assert verb or not words or words[0] in ("VERB", "--help", "--version"), span
        named = {word for word in words if word.startswith("--")} - FOREIGN
        assert named <= (options(verb) if verb else {"--help", "--version"}), span


@every_page
def test_options_in_the_prose_are_some_commands(page: Path) -> None:
    known = {option for verb in VERBS for option in options(verb)} | options_of_scripts() | FOREIGN
    for span in spans(page.read_text(encoding="utf-8")):
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*(?![\w…-])", span):
            assert option in known, span


@every_page
def test_modules_that_are_run_exist_and_know_the_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command in [*shell_lines(text), *spans(text)]:
        for name, rest in re.findall(r"python -m ([\w.]+)([^#]*)", command):
            if name.split(".")[0] in PACKAGES:
                spec = find_spec(name)
                assert spec is not None, command
                assert set(re.findall(r"(?<!\w)--[a-z][\w-]*", rest)) <= options_of_scripts(), command


@every_page
def test_keys_of_the_configuration_exist(page: Path) -> None:
    fields = {f.name: f.type for f in msgspec.structs.fields(RunConfig) if isinstance(f.type, type)}
    for span in spans(page.read_text(encoding="utf-8")):
        match = re.fullmatch(r"(\w+)\.(\w+)(?: = .*)?", span)
        if match and match[1] in fields and match[2] not in ("py", "h5", "toml"):
            assert match[2] in {f.name for f in msgspec.structs.fields(fields[match[1]])}, span


@every_page
def test_examples_of_configuration_are_accepted(page: Path) -> None:
    for body in blocks(page.read_text(encoding="utf-8"), "toml"):
        msgspec.toml.decode(body.encode(), type=RunConfig)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text)):
        if "://" not in target:
            name, _, place = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.exists(), target
            if place:
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert place in {anchor(heading) for heading in headings}, target


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    for span in spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(rf"({'|'.join(PACKAGES)}|docs)/[\w./-]+", span):
            assert (ROOT / span).exists(), span


@every_page
def test_python_that_is_shown_compiles_and_its_imports_exist(page: Path) -> None:
    for body in blocks(page.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(body)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if name.split(".")[0] in PACKAGES:
                    assert find_spec(name), name


@every_page
def test_targets_and_extras_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for line in [*shell_lines(text), *spans(text)]:
        for target in re.findall(r"[a-z-]+", (re.match(r"make ([a-z -]+)", line) or ("", ""))[1]):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), line
        for listed in re.findall(r"(?:atomstream|-e '?\.)\[([\w,]+)\]", line):
            assert set(listed.split(",")) <= set(extras), line


FILE_TABLES = {
    "/entry/ledger": LEDGER,
    "/entry/summary": SUMMARY,
    "/entry/columns": (*COLUMNS, FIRST_ROW),
    "/entry/changes": CHANGES,
    "/entry/particles": (*PARTICLES, PARTICLES_FIRST_ROW),
}

BEGINNINGS = {"/entry/ledger": "`/entry/ledger`\n", "/entry/summary": "`/entry/summary` (NXdata)"}


def documented(page: str, beginning: str) -> dict[str, str]:
    """Give the first table after `beginning`: what its first column names, and the type beside it."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(beginning)[2]
    assert text, f"{page} has no {beginning!r}"
    (rows,) = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)[:1]
    cells = [row.split("|")[1:3] for row in rows.splitlines()[2:]]
    return {name: kind.strip() for names, kind in cells for name in re.findall(r"`(\w+)`", names)}


def kind_of(spec: ColumnSpec) -> str:
    shape = f"({', '.join(map(str, spec.row_shape))}{',' * (len(spec.row_shape) == 1)}) "
    return (shape if spec.row_shape else "") + spec.dtype.lstrip("<|")


@pytest.mark.parametrize("group", FILE_TABLES)
def test_tables_of_the_result_file_are_as_documented(group: str) -> None:
    beginning = BEGINNINGS.get(group, f"`{group}` has one row")
    kinds = documented("file-format.md", beginning)
    assert {name: kind.split(" [")[0] for name, kind in kinds.items()} == {
        spec.name: kind_of(spec) for spec in FILE_TABLES[group]
    }


def test_options_set_the_keys_that_are_documented() -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\[(\w+)\]`[^|]*\|([^|]*)\|([^|]*)\|$", text, flags=re.MULTILINE)
    said = {}
    for table, same, others in rows:
        pairs = [(name, name) for name in re.findall(r"`--([\w-]+)`", same)]
        pairs += re.findall(r"`(?:--)?([\w-]+)[^`]*`: `(\w+)`", others)
        said |= {option.replace("-", "_"): (table, key.replace("-", "_")) for option, key in pairs}
    places = {"out": ("record", "path"), **_PLACES}
    places["SOURCE"], places["pixel_size_A"] = places.pop("source"), places.pop("pixel_size")
    assert said == places


def test_stages_of_a_frames_way_are_as_documented() -> None:
    assert list(documented("file-format.md", "The stages of a frame's way")) == list(STAGES)


@pytest.mark.parametrize(("beginning", "header"), [("**start**", _Start), ("**image**", _Image)])
def test_fields_of_our_own_stream_are_as_documented(beginning: str, header: type) -> None:
    of_every = set(documented("wire-format.md", "Every header:")) - {"type"}
    assert of_every | set(documented("wire-format.md", beginning)) == {
        f.name for f in msgspec.structs.fields(header)
    }


def first_column(page: str, head: str) -> list[str]:
    """Give what stands in the first column of the table whose head begins with `head`."""
    rows = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"| {head} |")[2].split("\n\n")[0]
    return [row.split("|")[1].strip() for row in rows.splitlines()[2:]]


def names(cells: list[str]) -> list[str]:
    return re.findall(r"`([^`]+)`", " ".join(cells))


def test_states_of_a_frame_are_as_documented() -> None:
    text = (ROOT / "docs/file-format.md").read_text(encoding="utf-8").partition("| status | | meaning |")[2]
    rows = re.findall(r"^\| (\d) \| (\w+) \|", text, flags=re.MULTILINE)
    assert {int(number): name for number, name in rows} == {s.value: s.name.lower() for s in FrameStatus}


def test_kinds_of_damage_are_as_documented() -> None:
    kinds = {kind.label for kind in (MessageError, FrameIdJumpError, *MessageError.__subclasses__())}
    assert set(first_column("wire-format.md", "label")) == kinds


def test_faults_are_as_documented() -> None:
    assert sorted(names(first_column("wire-format.md", "fault"))) == sorted(FaultKind)


def test_what_triggers_watch_is_as_documented() -> None:
    watched = TriggerConfig.__annotations__["when"]
    assert sorted(names(first_column("triggers.md", "`when`"))) == sorted(get_args(watched))


def test_fields_of_the_summary_are_as_documented() -> None:
    outcome = RunOutcome(
        config=RunConfig(), ingest={}, analysers=(), sender={"frames": 1}, peak_rss_bytes={},
        ended_early=False, troubles=(), elapsed_s=0.0,
    )  # fmt: skip
    fields = set(names(first_column("command-line.md", "fields")))
    assert fields == {*summarise("demo", outcome), "truth"}


def rows_by_dose(page: str) -> dict[str, list[str]]:
    """Give the cells of the rows that begin with a number, the first of each number."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in re.findall(r"^\| \d+ \|.*$", text, flags=re.MULTILINE)]
    return {row[0]: row for row in reversed(rows)}


@pytest.mark.parametrize("page", ["README.md", "docs/accuracy.md"])
def test_how_well_it_counts_is_what_was_evaluated(page: str) -> None:
    said, evaluated = rows_by_dose(page), rows_by_dose("docs/evaluation/ceria.md")
    assert [*said] == ["3000", "1000", "300", "100", "30"]
    for dose, cells in said.items():
        left = iter(evaluated[dose])
        assert all(cell in left for cell in cells), f"{cells} are not the figures of {evaluated[dose]}"
