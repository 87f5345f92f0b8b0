"""Suggestions in the errors of unknown commands and options."""

import json
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ("datasets upload pets pets.zip", "'candela datasets add'"),
        ("train job.yaml", "'candela submit'"),
        ("ls", "'candela jobs'"),
        ("list models", "'candela models list'"),
        ("rm model digits", "'candela models delete'"),
        ("models rm digits", "'candela models delete'"),
        ("jobs get latest", "'candela jobs show'"),
        ("datasets uploads rm 7", "'candela datasets uploads delete'"),
        ("sweeps create sweep.yaml", "'candela sweep'"),
        ("register", "'candela jobs register' or 'candela models register'"),
        ("version", "'candela --version'"),
        ("job", "'jobs'"),  # a typing error
        ("submit job.yaml --epochs 3", "write epochs=3"),
        ("sweep job.yaml --max-epochs=3", "write max_epochs=3"),
        ("clone latest --note", "write note=VALUE"),
        ("submit job.yaml --wacth", "--watch"),
    ],
)
def test_an_invalid_command_line_has_a_suggestion(run: Run, arguments: str, suggestion: str) -> None:
    status, printed, _ = run(*arguments.split(), "--json")
    assert status == 2
    assert suggestion in json.loads(printed)["detail"]
