"""One file out of a multipart body, as it streams: nothing is kept in memory or in a temporary folder."""

from collections.abc import AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from core.errors import InvalidSpec


def parse_boundary(content_type: str) -> bytes | None:
    """The boundary of a multipart body; None for any other body.

    Raises:
        HTTPException: 400, it is multipart without a boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise HTTPException(400, "The multipart body has no boundary.")
    return boundary


async def stream_file(pieces: AsyncIterator[bytes], boundary: bytes, field: str) -> AsyncIterator[bytes]:
    """The content of the one part that there is, which must be named `field`.

    Raises:
        HTTPException: 400, the body is no multipart, or ends too early.
        InvalidSpec: there is no such part, or another one.
    """
    reader = _Reader(boundary, field)
    async for piece in pieces:
        for content in reader.feed(piece):
            yield content
    reader.finish()


class _Reader:
    def __init__(self, boundary: bytes, field: str) -> None:
        self._field = field
        self._content: list[bytes] = []
        self._header_name, self._header_value = b"", b""
        self._name: str | None = None
        self._num_parts = 0
        self._is_whole = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_name,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_name,
            "on_part_data": self._on_content,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a typed dict of these
        except FormParserError as error:
            raise HTTPException(400, f"The multipart body cannot be read: {error}") from None

    def feed(self, piece: bytes) -> list[bytes]:
        self._content = []
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise HTTPException(400, f"The multipart body cannot be read: {error}") from None
        return self._content

    def finish(self) -> None:
        if not self._is_whole:
            raise HTTPException(400, "The multipart body ends too early.")
        if not self._num_parts:
            raise InvalidSpec("The file is missing.", errors=[(f"/{self._field}", "is missing")])

    def _begin(self) -> None:
        self._num_parts += 1
        self._name = None
        if self._num_parts > 1:
            raise InvalidSpec("One file at a time.", errors=[("", f"has more parts than one named {self._field!r}")])

    def _on_name(self, body: bytes, start: int, end: int) -> None:
        self._header_name += body[start:end]

    def _on_value(self, body: bytes, start: int, end: int) -> None:
        self._header_value += body[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header_name, self._header_value = b"", b""

    def _check_name(self) -> None:
        if self._name != self._field:
            shown = ascii((self._name or "")[:64])
            raise InvalidSpec(
                f"The part is named {shown}.", errors=[("", f"unknown field {shown}; known: {self._field!r}")]
            )

    def _on_content(self, body: bytes, start: int, end: int) -> None:
        self._content.append(body[start:end])

    def _end(self) -> None:
        self._is_whole = True
