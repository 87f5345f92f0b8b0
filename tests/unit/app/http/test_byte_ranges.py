"""The parsing of the header `Range`."""

import pytest
from starlette.exceptions import HTTPException

from app.http.byte_ranges import MAX_RANGES, ByteRange, parse_range


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-1", ByteRange(0, 1)),
        ("bytes=3-", ByteRange(3, 9)),
        ("bytes=8-100", ByteRange(8, 9)),
        (f"bytes=0-{'9' * 5000}", ByteRange(0, 9)),
        ("bytes=-3", ByteRange(7, 9)),
        (f"bytes=-{'9' * 5000}", ByteRange(0, 9)),
        ("Bytes = 0-1", ByteRange(0, 1)),
        ("bytes=0-1,", ByteRange(0, 1)),
        ("bytes=0-1,3-4", None),
        ("bytes=0-1,50-60", None),
        ("pages=1-2", None),
        ("garbage", None),
    ],
)
def test_one_range_is_parsed_and_several_are_the_whole_file(value: str, expected: ByteRange | None) -> None:
    assert parse_range(value, 10) == expected


@pytest.mark.parametrize(
    "value",
    [f"bytes={text}" for text in ("10-", "99-100", "-0", "9" * 5000 + "-", "5-2", "0-1,5-2", "a-b", "", ",", "-", "1")]
    + [f"bytes={text}" for text in ("0--1", "\u0661-\u0662", "10-11,12-13", ",".join(["0-"] * (MAX_RANGES + 1)))],
)
def test_an_invalid_or_unsatisfiable_range_is_a_416(value: str) -> None:
    with pytest.raises(HTTPException) as error:
        parse_range(value, 10)
    assert (error.value.status_code, error.value.headers) == (416, {"Content-Range": "bytes */10"})
    assert error.value.detail.endswith("; the file has 10 bytes.")


def test_every_range_of_an_empty_file_is_a_416() -> None:
    for value in ("bytes=0-", "bytes=-1"):
        with pytest.raises(HTTPException, match="has 0 bytes"):
            parse_range(value, 0)
