"""File responses with an ETag (the file's sha256) and support for one byte range."""

import re
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fastapi.responses import FileResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.schemas.problems import problem_responses

ONE_RANGE = re.compile(r"(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+))")
MAX_RANGES = 16
MAX_QUOTED = 100
MAX_DIGITS = 18  # longer numbers are larger than every file
RANGE_HEADERS = frozenset({b"range", b"if-range"})
JSON_FILE: dict[str, Any] = {"application/json": {"schema": {}}}
BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class StoredFile(Protocol):
    """A file in the storage."""

    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def name(self) -> str: ...


class ByteRange(NamedTuple):
    """The bytes of a file from `first` to `last`, which is included."""

    first: int
    last: int


class UnsatisfiableRange(HTTPException):
    """A 416 with the size of the file."""

    def __init__(self, reason: str, size: int) -> None:
        detail = f"Range: {reason}; the file has {size} bytes."
        super().__init__(416, detail, {"Content-Range": f"bytes */{size}"})


class InvalidRange(UnsatisfiableRange):
    """The `Range` header is malformed."""


class RangeResponse(FileResponse):
    """A file, or one range of it. Starlette's own parsing of `Range` responds to invalid ranges with plain text."""

    def __init__(self, path: Path, *, byte_range: ByteRange | None = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(path, **options)
        self.byte_range = byte_range

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] not in RANGE_HEADERS]
        if self.byte_range is not None:
            headers.append((b"range", f"bytes={self.byte_range.first}-{self.byte_range.last}".encode()))
        await super().__call__({**scope, "headers": headers}, receive, send)


def describe_file_responses(example: str, *, has_json: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of an endpoint that sends a file, such as the file `example`.

    With `has_json`, files of type `application/json` are sent with this type.
    """
    content = BINARY | JSON_FILE if has_json else BINARY
    return {
        200: {"description": f"The file, such as `{example}`.", "content": content},
        206: {"description": "The requested range of the file.", "content": content},
        304: {"description": "The file is unchanged: `If-None-Match` contains the file's ETag."},
        **problem_responses(404, 416, 422),
    }


def build_file_response(request: Request, file: StoredFile, media_type: str = "application/octet-stream") -> Response:
    """Return a response with the file or the requested range, or a 304 if the client's cached copy is current.

    An invalid range is ignored, as RFC 9110 allows, so that a client that resumes downloads gets the whole file.

    Args:
        request: the request.
        file: the file.
        media_type: the media type of the response. A browser must not run such a file.

    Raises:
        HTTPException: 416, the range is outside the file.
    """
    etag = f'"{file.sha256}"'
    if etag in request.headers.get("if-none-match", "") or request.headers.get("if-none-match") == "*":
        return Response(status_code=304, headers={"ETag": etag})
    try:
        byte_range = select_range(request.headers, file.path.stat().st_size, etag)
    except InvalidRange:
        byte_range = None
    return RangeResponse(
        file.path,
        byte_range=byte_range,
        media_type=media_type,
        filename=file.name,
        headers={"ETag": etag},
    )


def build_image_response(request: Request, path: Path) -> Response:
    """Return a response with a PNG file or the requested range.

    Raises:
        HTTPException: 416, the range is invalid or outside the file.
    """
    response = RangeResponse(path, media_type="image/png", stat_result=path.stat())
    response.byte_range = select_range(request.headers, path.stat().st_size, response.headers["etag"])
    return response


def select_range(headers: Headers, size: int, etag: str) -> ByteRange | None:
    """Return the range that a request asks for, or None for the whole file.

    `If-Range` with another ETag or with a date selects the whole file.

    Raises:
        HTTPException: 416, see `parse_range`.
    """
    requested = headers.get("range")
    return None if requested is None or headers.get("if-range", etag) != etag else parse_range(requested, size)


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the range in a `Range` header, or None for the whole file.

    Several ranges and other units than bytes select the whole file. Source: RFC 9110, 14.1 and 14.2.

    Args:
        header: the value of the header.
        size: the size of the file in bytes.

    Raises:
        InvalidRange: 416, the range is malformed, or there are too many.
        HTTPException: 416, the range is outside the file.
    """
    unit, _, text = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in text.split(",", MAX_RANGES)]
    if len(parts) > MAX_RANGES:
        raise InvalidRange(f"has more than {MAX_RANGES} ranges", size)
    ranges = [_parse_one_range(part, size) for part in parts if part]
    if not ranges:
        raise InvalidRange("must have a range, such as `bytes=0-99`", size)
    if not any(each.first <= each.last for each in ranges):
        raise UnsatisfiableRange(f"{text[:MAX_QUOTED]} is outside the file", size)
    return ranges[0] if len(ranges) == 1 else None


def _parse_one_range(text: str, size: int) -> ByteRange:
    """Return the part of a range that is inside the file; `first` is above `last` if it is empty."""
    match = ONE_RANGE.fullmatch(text)
    first = _parse_number(match["first"] or "0") if match else 0
    last = _parse_number(match["last"] or "9" * (MAX_DIGITS + 1)) if match else -1
    if match is None or first > last:
        reason = f"{text[:MAX_QUOTED]!r} must be first-last, first- or -length, with first <= last"
        raise InvalidRange(reason, size)
    if match["suffix"]:
        length = _parse_number(match["suffix"])
        return ByteRange(max(size - length, 0), size - 1) if length else ByteRange(size, size - 1)
    return ByteRange(first, min(last, size - 1))


def _parse_number(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS
