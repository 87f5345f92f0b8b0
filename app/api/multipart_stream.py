"""Streams the single file of a multipart body, without buffering it in memory or in a temporary file."""

import re
from collections.abc import AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from core.errors import InvalidSpec

_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 2**14


def parse_boundary(content_type: str) -> bytes | None:
    """Return the boundary of a multipart body, or None if the media type is not multipart.

    Raises:
        HTTPException: 400, the content type is multipart but contains no boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise HTTPException(400, "The content type multipart/form-data has no boundary.")
    return boundary


async def stream_file(chunks: AsyncIterator[bytes], boundary: bytes, field: str) -> AsyncIterator[bytes]:
    """Yield the content of a multipart body's only part, whose name must be `field`.

    Raises:
        HTTPException: 400, the body is not multipart, is incomplete, or has a head of more than 16 KiB.
        InvalidSpec: the body has no part, several parts, or a part with another name.
    """
    try:
        reader = _FileReader(boundary, field)
        async for chunk in chunks:
            if content := reader.read_chunk(chunk):
                yield content
        reader.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"The multipart body is malformed: {error}") from None


class _FileReader:
    """Splits the content of the file from the head and the end of a body, which a `_SingleFileParser` parses.

    The content does not pass through the parser: it calls back for each line break.
    """

    def __init__(self, boundary: bytes, field: str) -> None:
        self._parser = _SingleFileParser(boundary, field)
        self._delimiter = re.compile(re.escape(b"\r\n--" + boundary) + rb"(?:--|\r\n)")
        self._num_delimiter_bytes = len(boundary) + 6
        self._buffer = bytearray()
        self._num_head_bytes = 0

    def read_chunk(self, chunk: bytes) -> bytes:
        """Return the content of the file that is complete with this chunk, at most a few bytes less than received."""
        if self._parser.is_complete:
            return b""
        self._buffer += chunk
        if not self._parser.is_in_file and not self._read_head(len(chunk)):
            return b""
        end = self._delimiter.search(self._buffer)
        num_content = end.start() if end else max(0, len(self._buffer) - self._num_delimiter_bytes + 1)
        content = bytes(self._buffer[:num_content])
        if end:
            self._parser.write(bytes(self._buffer[end.start() : end.end()]))
        del self._buffer[:num_content]
        return content

    def _read_head(self, num_new: int) -> bool:
        """Parse the head of the part. Return whether it is complete."""
        search_from = max(0, len(self._buffer) - num_new - len(_HEAD_END) + 1)
        while not self._parser.is_in_file:
            end = self._buffer.find(_HEAD_END, search_from)
            num_head_bytes = self._num_head_bytes + (len(self._buffer) if end < 0 else end)
            if num_head_bytes > _MAX_HEAD_BYTES:
                raise HTTPException(400, f"The multipart body has more than {_MAX_HEAD_BYTES} bytes before the file.")
            if end < 0:
                return False
            end += len(_HEAD_END)
            self._parser.write(bytes(self._buffer[:end]))
            self._num_head_bytes += end
            del self._buffer[:end]
            search_from = 0
        return True

    def finalize(self) -> None:
        """Check that the body is complete and contains a file."""
        if not self._parser.is_complete and not self._parser.is_in_file:
            self._parser.write(bytes(self._buffer))  # an empty form has no head
        self._parser.finalize()


class _SingleFileParser(MultipartParser):
    """Extends python-multipart's parser: accepts exactly one part and checks its name.

    Attributes:
        is_in_file: whether the head of the part was parsed.
        is_complete: whether the end of the body was parsed.
    """

    def __init__(self, boundary: bytes, field: str) -> None:
        super().__init__(boundary)
        self.is_in_file = False
        self.is_complete = False
        self._field = field
        self._header: dict[str, bytes] = {}
        self._names: list[str] = []  # name of each part so far

    def callback(self, name: str, part: bytes | None = None, start: int | None = None, end: int | None = None) -> None:
        chunk = (part or b"")[start:end]
        match name:
            case "part_begin":
                self._names.append("")
                self._check_count()
            case "header_field" | "header_value":
                self._header[name] = self._header.get(name, b"") + chunk
            case "header_end":
                if self._header.get("header_field", b"").lower() == b"content-disposition":
                    _, options = parse_options_header(self._header.get("header_value"))
                    self._names[-1] = options.get(b"name", b"").decode("utf-8", "replace")
                self._header = {}
            case "headers_finished":
                self._check_name()
                self.is_in_file = True
            case "end":
                self.is_complete = True
            case _:
                pass

    def finalize(self) -> None:
        """Check that the body is complete and contains a file."""
        if not self.is_complete:
            raise HTTPException(400, "The multipart body is incomplete.")
        if not self._names:
            raise InvalidSpec("The multipart body has no file.", errors=[(f"/{self._field}", "is missing")])

    def _check_count(self) -> None:
        if len(self._names) > 1:
            reason = f"must have one part, named {self._field!r}"
            raise InvalidSpec("The body has several parts; it must have exactly one file.", errors=[("", reason)])

    def _check_name(self) -> None:
        if self._names[-1] != self._field:
            name = ascii(self._names[-1][:64])
            raise InvalidSpec(
                f"The part must be named {self._field!r}; got {name}.",
                errors=[("", f"unknown field {name}; accepted: {self._field!r}")],
            )
