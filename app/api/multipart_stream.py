"""Streams the one file of a multipart body, without buffering it in memory or in a temporary file."""

from collections.abc import AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from core.errors import InvalidSpec


def parse_boundary(content_type: str) -> bytes | None:
    """Return the boundary of a multipart body, or None for another media type.

    Raises:
        HTTPException: 400, the content type is multipart without a boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise HTTPException(400, "The multipart body has no boundary.")
    return boundary


async def stream_file(chunks: AsyncIterator[bytes], boundary: bytes, field: str) -> AsyncIterator[bytes]:
    """Yield the content of the only part, which must be named `field`.

    Raises:
        HTTPException: 400, the body is not multipart, or is incomplete.
        InvalidSpec: the body has no part, several parts, or a part with another name.
    """
    parser = _SingleFileParser(boundary, field)
    async for chunk in chunks:
        for content in parser.feed(chunk):
            yield content
    parser.finish()


class _SingleFileParser:
    def __init__(self, boundary: bytes, field: str) -> None:
        self._field = field
        self._content: list[bytes] = []
        self._header_name, self._header_value = b"", b""
        self._name: str | None = None
        self._num_parts = 0
        self._is_complete = False
        callbacks = {
            "on_part_begin": self._start_part,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_name,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a typed dict of these
        except FormParserError as error:
            raise _build_syntax_error(error) from None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the content of the file in this chunk of the body."""
        self._content = []
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _build_syntax_error(error) from None
        return self._content

    def finish(self) -> None:
        """Check that the body was complete and had a file."""
        if not self._is_complete:
            raise HTTPException(400, "The multipart body is incomplete.")
        if not self._num_parts:
            raise InvalidSpec("The file is missing.", errors=[(f"/{self._field}", "is missing")])

    def _start_part(self) -> None:
        self._num_parts += 1
        self._name = None
        if self._num_parts > 1:
            reason = f"must have one part, named {self._field!r}"
            raise InvalidSpec("The body must have exactly one file.", errors=[("", reason)])

    def _on_header_field(self, body: bytes, start: int, end: int) -> None:
        self._header_name += body[start:end]

    def _on_header_value(self, body: bytes, start: int, end: int) -> None:
        self._header_value += body[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header_name, self._header_value = b"", b""

    def _check_name(self) -> None:
        if self._name != self._field:
            name = ascii((self._name or "")[:64])
            raise InvalidSpec(
                f"The part must be named {self._field!r}; got {name}.",
                errors=[("", f"unknown field {name}; accepted: {self._field!r}")],
            )

    def _on_part_data(self, body: bytes, start: int, end: int) -> None:
        self._content.append(body[start:end])

    def _on_end(self) -> None:
        self._is_complete = True


def _build_syntax_error(error: FormParserError) -> HTTPException:
    return HTTPException(400, f"The multipart body is malformed: {error}")
