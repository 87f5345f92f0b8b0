"""The content codings of HTTP bodies: gzip, deflate, br and zstd. Bodies are decompressed in small pieces.

Source: RFC 9110, sections 8.4 and 12.5.3; RFC 7932 (br); RFC 8878 and RFC 9659 (zstd).
"""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
from anyio.to_thread import run_sync

from app.problems import parse_weight

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODINGS = ("zstd", "br", "gzip", "deflate")
"""The supported codings. Of those that a client accepts equally, the first is used for responses."""
CHUNK_BYTES = 2**16
"""The approximate size of the largest piece that one step decompresses, which takes less than 1 ms."""
WINDOW_BYTES = {"br": 2**24, "zstd": 2**23}
"""The memory that a body can make its decoder allocate. The decoders of other codings need less than 64 KiB."""
COMPRESSION_LEVEL = 1
MAX_INLINE_BYTES = 2**16
"""A larger body is compressed in a thread."""
MAX_FRAMES = 1000
"""Maximum number of concatenated gzip members or zstd frames in a body."""
_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_BYTES["zstd"].bit_length() - 1}
# In HTTP, `deflate` is the zlib format (RFC 9110, section 8.4.1.2), but some clients send it without the zlib header.
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class CorruptBody(ValueError):
    """The body is not valid in its content coding."""


class UnsupportedCoding(ValueError):
    """The server does not support a content coding. `name` is the coding as the client sent it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def parse_content_encoding(header: str) -> list[str]:
    """Return the codings of the header Content-Encoding, in the order in which they were applied.

    Raises:
        UnsupportedCoding: a coding is unknown.
    """
    codings = []
    for entry in header.split(","):
        name = entry.strip().lower()
        if name in ("", "identity"):
            continue
        coding = _ALIASES.get(name, name)
        if coding not in CODINGS:
            raise UnsupportedCoding(entry.strip())
        codings.append(coding)
    return codings


def choose_encoding(accept_encoding: str) -> str:
    """Return the coding that the header Accept-Encoding prefers, or an empty string for a body without coding."""
    weights: dict[str, float] = {}
    for entry in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weights[_ALIASES.get(name, name)] = parse_weight(parameters)
    default = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, default))  # the first of equal ones
    weight = weights.get(best, default)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else ""


def compress(body: bytes, coding: str) -> bytes:
    """Compress a body at the fastest useful level."""
    match coding:
        case "zstd":
            return zstd.compress(body, COMPRESSION_LEVEL)
        case "br":
            return bytes(brotli.compress(body, quality=COMPRESSION_LEVEL))
        case _:
            stream = zlib.compressobj(COMPRESSION_LEVEL, wbits=_GZIP_BITS if coding == "gzip" else _ZLIB_BITS)
            return stream.compress(body) + stream.flush()


async def compress_body(body: bytes, coding: str) -> bytes:
    """Compress a body: a large one in a thread, because that blocks the event loop for milliseconds."""
    if len(body) <= MAX_INLINE_BYTES:
        return compress(body, coding)
    return await run_sync(compress, body, coding)


class CodingDecoder(Protocol):
    """Decompresses one coding. After `feed`, each `read` returns a piece; it is empty if more input is needed."""

    @property
    def needs_input(self) -> bool: ...
    def feed(self, chunk: bytes) -> None: ...
    def read(self) -> bytes: ...
    def finish(self) -> None: ...


class ContentDecoder:
    """Decompresses a body to which one or several codings were applied. Each step produces one piece at most.

    Args:
        codings: the codings in the order in which they were applied.
        on_input: called with the coding and the number of bytes before each of its chunks is decompressed. It may raise
            an error, so that a body that expands without output cannot keep the server busy.
    """

    def __init__(
        self, codings: list[str], on_input: Callable[[int, int], None] = lambda stage, num_bytes: None
    ) -> None:
        self._stages = [(coding, build_decoder(coding)) for coding in reversed(codings)]
        self._on_input = on_input

    @property
    def needs_input(self) -> bool:
        """Whether all input is decompressed."""
        return all(decoder.needs_input for _, decoder in self._stages)

    def feed(self, chunk: bytes) -> None:
        """Add input. Call `read` until `needs_input` is true before the next chunk."""
        self._feed(0, chunk)

    def read(self) -> bytes:
        """Decompress one piece. An empty piece means that the step has no output, not that the body has ended.

        Raises:
            CorruptBody: the input is not valid in its coding.
        """
        for number in reversed(range(len(self._stages))):
            coding, decoder = self._stages[number]
            if decoder.needs_input:
                continue
            try:
                chunk = decoder.read()
            except CorruptBody as error:
                raise CorruptBody(f"is not valid {coding}: {error}") from None
            if number == len(self._stages) - 1:
                return chunk
            self._feed(number + 1, chunk)
            return b""
        return b""

    def finish(self) -> None:
        """Check that the body is complete.

        Raises:
            CorruptBody: the end of the body is missing.
        """
        for coding, decoder in self._stages:
            try:
                decoder.finish()
            except CorruptBody as error:
                raise CorruptBody(f"is not valid {coding}: {error}") from None

    def _feed(self, number: int, chunk: bytes) -> None:
        if chunk:
            self._on_input(number, len(chunk))
            self._stages[number][1].feed(chunk)


def build_decoder(coding: str) -> CodingDecoder:
    """Return a decoder for a coding of `CODINGS`."""
    match coding:
        case "br":
            return BrotliDecoder()
        case "zstd":
            return FramesDecoder(ZstdFrame)
        case "gzip":
            return FramesDecoder(lambda _: ZlibFrame(_GZIP_BITS))
        case _:
            return FramesDecoder(_open_deflate, max_frames=1)


class Frame(Protocol):
    """One gzip member, zlib stream or zstd frame. `read` returns a piece and the input that is left."""

    @property
    def is_complete(self) -> bool: ...
    def read(self, encoded: bytes) -> tuple[bytes, bytes]: ...


class FramesDecoder:
    """Decompresses concatenated frames."""

    def __init__(self, open_frame: Callable[[bytes], Frame], max_frames: int = MAX_FRAMES) -> None:
        """`open_frame` returns the frame that starts with the given bytes, of which there are at least two."""
        self._open_frame = open_frame
        self._max_frames = self._num_left = max_frames
        self._frame: Frame | None = None
        self._input = b""
        self._has_output = False

    @property
    def needs_input(self) -> bool:
        if self._frame is None:
            return len(self._input) < 2  # the first two bytes show the format of a deflate body
        return not self._input and not self._has_output

    def feed(self, chunk: bytes) -> None:
        self._input += chunk

    def read(self) -> bytes:
        if self._frame is None:
            if not self._num_left:
                raise CorruptBody("it has trailing bytes, or too many parts")
            self._num_left -= 1
            self._frame = self._open_frame(self._input)
        chunk, self._input = self._frame.read(self._input)
        self._has_output = len(chunk) >= CHUNK_BYTES
        if self._frame.is_complete:
            self._frame, self._has_output = None, False
        return chunk

    def finish(self) -> None:
        if self._frame is not None or self._input or self._num_left == self._max_frames:
            raise CorruptBody("it is truncated")


class ZlibFrame:
    """A gzip member or a zlib stream."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    @property
    def is_complete(self) -> bool:
        return self._stream.eof

    def read(self, encoded: bytes) -> tuple[bytes, bytes]:
        try:
            chunk = self._stream.decompress(encoded, CHUNK_BYTES)
        except zlib.error:
            raise CorruptBody("the data is corrupt") from None
        return chunk, self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail


def _open_deflate(head: bytes) -> ZlibFrame:
    """Return a stream with a zlib header, or a raw one if the body does not start with a zlib header (RFC 1950)."""
    has_header = head[0] & 15 == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return ZlibFrame(_ZLIB_BITS if has_header else _RAW_BITS)


class ZstdFrame:
    """A zstd frame whose window is at most 8 MiB, as RFC 9659 requires of HTTP bodies."""

    def __init__(self, _head: bytes) -> None:
        self._stream = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)

    @property
    def is_complete(self) -> bool:
        return bool(self._stream.eof)

    def read(self, encoded: bytes) -> tuple[bytes, bytes]:
        try:
            chunk = self._stream.decompress(encoded, CHUNK_BYTES)
        except zstd.ZstdError as error:
            is_too_large = "memory" in str(error)
            raise CorruptBody("its window is larger than 8 MiB" if is_too_large else "the data is corrupt") from None
        return chunk, self._stream.unused_data if self._stream.eof else b""


class BrotliDecoder:
    """Decompresses a brotli stream, which cannot be concatenated."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._input = b""
        self._has_output = False

    @property
    def needs_input(self) -> bool:
        return not self._input and not self._has_output and bool(self._stream.can_accept_more_data())

    def feed(self, chunk: bytes) -> None:
        self._input += chunk

    def read(self) -> bytes:
        encoded = b""  # the stream accepts no input as long as it has output
        if self._stream.can_accept_more_data():
            encoded, self._input = self._input, b""
        try:
            chunk = bytes(self._stream.process(encoded, output_buffer_limit=CHUNK_BYTES))
        except brotli.error:
            raise CorruptBody("the data is corrupt, or has trailing bytes") from None
        self._has_output = len(chunk) >= CHUNK_BYTES
        return chunk

    def finish(self) -> None:
        if not self._stream.is_finished():
            raise CorruptBody("it is truncated")
