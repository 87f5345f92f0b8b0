"""Suggestions in the errors of unknown commands and options."""

import json
from collections.abc import Callable
from typing import Any

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
        ("submit job.yaml --lr 0.1", "write lr=0.1"),
        ("submit job.yaml --wacth", "No such option: --wacth (Possible options: --watch)"),
        ("submit job.yaml -f", "Did you mean --watch?"),
        ("jobs -n 5", "Did you mean --limit?"),
        ("models delete digits --force", "Did you mean --yes?"),
        ("models export digits onnx", "'onnx' is not an integer."),
    ],
)
def test_an_invalid_command_line_has_a_suggestion(run: Run, arguments: str, suggestion: str) -> None:
    status, printed, _ = run(*arguments.split(), "--json")
    assert status == 2
    assert suggestion in json.loads(printed)["detail"]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ("models show digits@3", "/v1/models/digits/versions/3"),
        ("models variants digits@3", "/v1/models/digits/versions/3/variants"),
        ("models delete --yes digits@3", "/v1/models/digits/versions/3"),
        ("datasets show digits@3", "/v1/datasets/digits/versions/3"),
        ("datasets diff digits@3 4", "/v1/datasets/digits/versions/4/diff"),
    ],
)
def test_a_reference_stands_for_the_name_and_the_version(server: Any, run: Run, arguments: str, path: str) -> None:
    run(*arguments.split(), "--json")
    assert path in [request.path for request in server.seen]
