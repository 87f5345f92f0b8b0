"""Streams the single file of a multipart body, without buffering it in memory or in a temporary file."""

from collections.abc import AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from core.errors import InvalidSpec


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
        HTTPException: 400, the body is not multipart, or is incomplete.
        InvalidSpec: the body has no part, several parts, or a part with another name.
    """
    try:
        parser = _SingleFileParser(boundary, field)
        async for chunk in chunks:
            parser.write(chunk)
            while parser.content:
                yield parser.content.pop(0)
    except FormParserError as error:
        raise HTTPException(400, f"The multipart body is malformed: {error}") from None
    parser.finalize()


class _SingleFileParser(MultipartParser):
    """Extends python-multipart's parser: accepts exactly one part, checks its name, and collects its content."""

    def __init__(self, boundary: bytes, field: str) -> None:
        super().__init__(boundary)
        self.content: list[bytes] = []
        self._field = field
        self._header: dict[str, bytes] = {}
        self._names: list[str] = []  # name of each part so far
        self._is_complete = False

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
            case "part_data":
                self.content.append(chunk)
            case "end":
                self._is_complete = True
            case _:
                pass

    def finalize(self) -> None:
        """Check that the body is complete and contains a part."""
        if not self._is_complete:
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
