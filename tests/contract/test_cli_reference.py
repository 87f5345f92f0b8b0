"""docs/reference/cli.md is the page that `make cli-reference` writes."""

import shlex
import subprocess
import sys
from pathlib import Path


def test_the_reference_of_the_command_line_is_current(tmp_path: Path) -> None:
    [line] = [line for line in Path("Makefile").read_text().splitlines() if "utils docs" in line]
    arguments = shlex.split(line)[1:]
    page = Path(arguments[-1])
    command = [sys.executable, *arguments[:-1], str(tmp_path / "cli.md")]
    subprocess.run(command, capture_output=True, check=True)
    assert page.read_text() == (tmp_path / "cli.md").read_text(), "run `make cli-reference`"
