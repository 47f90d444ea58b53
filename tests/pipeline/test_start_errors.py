"""What is wrong with a run before it begins: one clear line, no file, no frame lost."""

from pathlib import Path

import pytest

from pipeline.cli import main

SOURCE = "dectris2://127.0.0.1:9"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('when = "total_atoms"', "trigger 'x' can never fire: give above, below or change"),
        ('when = "total_atoms"\nabove = 5.0\nbelow = 9.0', "trigger 'x' always fires"),
        ('when = "total_atom"\nabove = 5.0', "Invalid enum value 'total_atom'"),
        ('when = "region_atoms"\nabove = 5.0', "'region' belongs to when = \"region_atoms\""),
        ('when = "lost"\nabove = 0.0\nabvoe = 1.0', "unknown field `abvoe`"),
        ('when = "channel"\nabove = 1.0\nchannel = "bias"', "watches channel 'bias', which is not declared"),
        ('when = "lost"\nabove = 0.0\nkeep = true', "look_back_s and .look_ahead_s are both 0"),
        ('when = "lost"\nabove = 0.0\nwebhook = "ftp://x"', "is no http:// or https:// address"),
    ],
)
def test_a_broken_rule_ends_the_run_before_it_begins(
    rule: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "rules.toml", tmp_path / "run.nxs"
    config.write_text(f'[[trigger]]\nname = "x"\n{rule}\n')
    assert main(["live", SOURCE, "--headless", "--config", str(config), "--out", str(out)]) == 2
    *before, line = capsys.readouterr().err.splitlines()
    assert message in line
    assert all(said.startswith("atomstream: recording to") for said in before)
    assert not out.exists()
