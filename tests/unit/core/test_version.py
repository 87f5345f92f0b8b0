"""The version is stated once, in pyproject.toml."""

import re
import subprocess

from candela import __version__
from core.version import ROOT, get_version


def test_the_server_and_the_client_have_the_version_of_the_project() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", get_version())
    assert __version__ == get_version()


def test_no_module_repeats_the_version() -> None:
    folders = ["app", "worker", "models", "core", "candela", "hatch_build.py", "Dockerfile", "Makefile"]
    command = ["git", "grep", "-lFw", f'"{get_version()}"', "--", *folders]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ""
