"""Headers of uploads by the tus protocol, and which errors end an upload."""

from pathlib import Path
from typing import Any

import pytest

from candela import ProblemError, Unreachable
from candela.errors import problem_error
from candela.tus import (
    UploadSource,
    build_chunk_headers,
    build_creation_headers,
    compute_wait_s,
    encode_metadata,
    is_final,
    is_temporary_error,
    is_unsupported,
)


def test_encode_metadata() -> None:
    assert encode_metadata({"dataset": "pets", "filename": "ü.zip"}) == "dataset cGV0cw==,filename w7wuemlw"


def test_options_become_metadata_and_unset_ones_are_left_out() -> None:
    options: dict[str, Any] = {"target": "kind", "columns": ["a", "b"], "ignore": [], "valid_share": 0.1, "task": None}
    source = UploadSource(Path("pets.csv"), "pets", options, "text/csv", ())
    headers = build_creation_headers(source, 12)
    assert headers["Upload-Length"] == "12"
    expected = {"dataset": "pets", "filename": "pets.csv", "filetype": "text/csv"}
    expected |= {"target": "kind", "columns": '["a", "b"]', "valid_share": "0.1"}
    assert headers["Upload-Metadata"] == encode_metadata(expected)


def test_a_chunk_has_its_offset_and_its_checksum() -> None:
    headers = build_chunk_headers(b"abc", 5)
    assert headers["Upload-Offset"] == "5"
    assert headers["Upload-Checksum"] == "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="


@pytest.mark.parametrize(
    ("status", "is_end", "may_continue"),
    [(422, True, False), (413, True, False), (409, False, True), (503, False, True), (500, False, False)],
)
def test_errors_that_end_an_upload(status: int, is_end: bool, may_continue: bool) -> None:
    error = problem_error(status, {"title": "x"})
    assert (is_final(error), is_temporary_error(error)) == (is_end, may_continue)
    assert is_temporary_error(Unreachable("no connection"))


def test_the_wait_grows_up_to_a_limit_and_respects_the_server() -> None:
    waits = [compute_wait_s(Unreachable("x"), number) for number in range(1, 12)]
    assert waits == sorted(waits)
    assert max(waits) == 15.0
    assert compute_wait_s(ProblemError(503, {}, retry_after_s=7.0), 1) == 7.0


@pytest.mark.parametrize(
    ("status", "path", "expected"),
    [
        (404, "/v1/uploads", True),
        (405, "/v1/uploads", True),
        (404, "/v1/datasets/x", False),
        (422, "/v1/uploads", False),
    ],
)
def test_a_server_without_resumable_uploads(status: int, path: str, expected: bool) -> None:
    assert is_unsupported(problem_error(status, {"instance": path})) is expected
