"""Images that are small but claim, or would need, a lot of work. Each function returns the bytes of one image."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EOB_RUNS = [0xE0, 0x00, *(size << 4 for size in range(1, 14))]  # symbols of AC scans: runs of blocks without values
_ADOBE_CMYK = b"Adobe\0\x64\0\0\0\0\0"


def jpeg_segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG file."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def multi_scan_jpeg(side: int = 5000, num_scans: int = 882, components: int = 1) -> bytes:
    """Return a progressive JPEG of side x side with many scans. Each has a few bytes, but takes time for every block.

    Three components are YCbCr, four are CMYK.
    """
    identifiers = range(1, components + 1)
    frame = b"".join(bytes([number, 0x11, 0]) for number in identifiers)
    dc_table = bytes([1] + [0] * 15) + b"\0"
    ac_table = bytes([1, 0, 0, 0, 14] + [0] * 11) + bytes(_EOB_RUNS)
    num_blocks = ((side + 7) // 8) ** 2
    dc_scan = jpeg_segment(
        0xDA, bytes([components]) + b"".join(bytes([number, 0]) for number in identifiers) + b"\0\0\0"
    ) + _pack_bits([(0, 1)] * (num_blocks * components))
    scans = [
        jpeg_segment(0xDA, bytes([1, number, 0, index, index, (0 if bit == 13 else bit + 1) << 4 | bit])) + ac_bits
        for ac_bits in [_pack_bits(_encode_empty_blocks(num_blocks))]
        for number in identifiers
        for index in range(1, 64)
        for bit in range(13, -1, -1)
    ]
    return b"".join(
        [
            b"\xff\xd8",
            jpeg_segment(0xEE, _ADOBE_CMYK) if components == 4 else b"",
            jpeg_segment(0xDB, b"\0" + b"\1" * 64),
            jpeg_segment(0xC2, struct.pack(">BHHB", 8, side, side, components) + frame),
            jpeg_segment(0xC4, b"\0" + dc_table),
            jpeg_segment(0xC4, b"\x10" + ac_table),
            dc_scan,
            *scans[: num_scans - 1],
            b"\xff\xd9",
        ]
    )


def repeated_scan_jpeg(side: int = 2000, num_scans: int = 1000) -> bytes:
    """Return a sequential JPEG in color whose first component has many scans without data."""
    body = _encode_jpeg("RGB", side)
    scan = jpeg_segment(0xDA, bytes([1, 1, 0, 0, 63, 0]))
    return body[: body.index(b"\xff\xda")] + scan * num_scans + b"\xff\xd9"


def many_segments_jpeg(num_segments: int = 500_000, mode: str = "CMYK") -> bytes:
    """Return a JPEG with many tiny EXIF segments before its pixels."""
    body = _encode_jpeg(mode, 16)
    return body[:2] + jpeg_segment(0xE1, b"Exif\0\0x") * num_segments + body[2:]


def scans_in_metadata_jpeg(num_markers: int = 500) -> bytes:
    """Return a valid JPEG in which a comment contains many scan markers."""
    body = _encode_jpeg("RGB", 16)
    return body[:2] + jpeg_segment(0xFE, b"\xff\xda" * num_markers) + body[2:]


def shared_values_exif(value_bytes: int) -> bytes:
    """Return EXIF data with 65,535 tags that share one value. Copies of all values need 65,535 times its size."""
    num_tags = 65_535
    start = 10 + 12 * num_tags
    tags = b"".join(struct.pack(">HHLL", tag, 7, value_bytes, start) for tag in range(num_tags))
    return b"MM\0*" + struct.pack(">LH", 8, num_tags) + tags + bytes(value_bytes)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def build_png(
    width: int = 16, height: int = 16, *, depth: int = 8, color: int = 0, chunks: bytes = b"", pixels: bytes = b""
) -> bytes:
    """Return a PNG with additional chunks before the pixels. `pixels`: the IDAT chunks; default: all values are 0."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    if not pixels:
        deflate = zlib.compressobj(9)
        row = bytes(1 + (width * samples * depth + 7) // 8)
        pixels = png_chunk(b"IDAT", b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush())
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return _SIGNATURE + header + chunks + pixels + png_chunk(b"IEND", b"")


def excess_data_png(num_bytes: int = 2**32) -> bytes:
    """Return a PNG of 64 x 64 whose compressed data has `num_bytes` bytes."""
    deflate = zlib.compressobj(9)
    block = bytes(min(num_bytes, 2**24))
    unit = deflate.compress(bytes(64 * 65)) + deflate.flush(zlib.Z_FULL_FLUSH)
    block_bits = deflate.compress(block) + deflate.flush(
        zlib.Z_FULL_FLUSH
    )  # can be repeated: it refers to nothing before
    return build_png(64, 64, pixels=png_chunk(b"IDAT", unit + block_bits * (num_bytes // len(block))))


def text_bomb_png(kind: bytes = b"zTXt", num_chunks: int = 1000, size: int = 2**20) -> bytes:
    """Return a PNG with texts or color profiles of `size` zeros each, compressed a thousand times."""
    compressed = zlib.compress(bytes(size), 9)
    prefix = b"key\0\1\0\0\0" if kind == b"iTXt" else b"key\0\0"
    return build_png(chunks=png_chunk(kind, prefix + compressed) * num_chunks)


def many_chunks_png(kind: bytes = b"teSt", num_chunks: int = 500_000) -> bytes:
    """Return a PNG with many empty chunks."""
    return build_png(chunks=png_chunk(kind, b"") * num_chunks)


def split_pixels_png() -> bytes:
    """Return a PNG with an IDAT chunk for each byte of noise."""
    noise = zlib.compress(
        b"".join(b"\0" + gzip.compress(bytes([row] * 99))[:99].ljust(200, b"x") for row in range(200)), 0
    )
    return build_png(200, 200, pixels=b"".join(png_chunk(b"IDAT", noise[i : i + 1]) for i in range(len(noise))))


def exif_png(value_bytes: int = 2**20) -> bytes:
    """Return a PNG with hostile EXIF data."""
    return build_png(chunks=png_chunk(b"eXIf", shared_values_exif(value_bytes)))


def animated_png(side: int = 1000, num_frames: int = 200) -> bytes:
    """Return an animated PNG with many frames."""
    rows = zlib.compress(bytes(side * (side + 1)), 9)
    chunks = [png_chunk(b"acTL", struct.pack(">II", num_frames, 0)), _frame_control(0, side)]
    pixels = [png_chunk(b"IDAT", rows)]
    for number in range(1, num_frames):
        pixels.append(_frame_control(2 * number - 1, side))
        pixels.append(png_chunk(b"fdAT", struct.pack(">I", 2 * number) + rows))
    return build_png(side, side, chunks=b"".join(chunks), pixels=b"".join(pixels))


def _frame_control(number: int, side: int) -> bytes:
    return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0))


def oversized_webp(kind: str, width: int = 16_383, height: int = 16_383) -> bytes:
    """Return a WEBP that declares a size and has almost no pixels. `kind`: "VP8 ", "VP8L" or "VP8X"."""
    content = {
        "VP8 ": b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
        "VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        "VP8X": bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
    }[kind].ljust(64, b"\0")
    chunk = kind.encode() + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def exif_webp(value_bytes: int = 2**20) -> bytes:
    """Return a WEBP with hostile EXIF data."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "WEBP", exif=shared_values_exif(value_bytes))
    return file.getvalue()


def animated_webp(side: int = 1000, num_frames: int = 100) -> bytes:
    """Return an animated WEBP with many frames."""
    file = io.BytesIO()
    frames = [Image.new("L", (side, side), number % 2 * 255) for number in range(num_frames)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True, method=0)
    return file.getvalue()


def _encode_jpeg(mode: str, side: int) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "JPEG", subsampling=0)
    return file.getvalue()


def _encode_empty_blocks(num_blocks: int) -> list[tuple[int, int]]:
    """Return the codes (value, number of bits) of runs of blocks without values."""
    codes = {0xE0: (0, 1)} | {symbol: (0b10000 + number, 5) for number, symbol in enumerate(_EOB_RUNS[1:])}
    bits = []
    while num_blocks:
        num_bits = min(14, num_blocks.bit_length() - 1)
        run = min(num_blocks, (1 << num_bits + 1) - 1)
        bits += [codes[num_bits << 4], (run - (1 << num_bits), num_bits)]
        num_blocks -= run
    return bits


def _pack_bits(codes: list[tuple[int, int]]) -> bytes:
    """Return entropy-coded data: the codes, padded with ones, and with a zero after each byte 255."""
    bits = "".join(f"{value:0{num_bits}b}" for value, num_bits in codes if num_bits)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


REJECTED: dict[str, Callable[[], bytes]] = {
    "scans-grey": multi_scan_jpeg,
    "scans-color": lambda: multi_scan_jpeg(2000, 1000, 3),
    "scans-cmyk": lambda: multi_scan_jpeg(2000, 400, 4),
    "scans-large": lambda: multi_scan_jpeg(5000, 60),
    "scans-small": lambda: multi_scan_jpeg(16, 500),
    "scans-repeated": repeated_scan_jpeg,
    "segments-cmyk": many_segments_jpeg,
    "texts-zTXt": text_bomb_png,
    "texts-iTXt": lambda: text_bomb_png(b"iTXt"),
    "texts-iCCP": lambda: text_bomb_png(b"iCCP"),
    "chunks-unknown": many_chunks_png,
    "chunks-tEXt": lambda: many_chunks_png(b"tEXt"),
    "chunks-split": split_pixels_png,
    "chunks-IDAT": lambda: many_chunks_png(b"IDAT"),
    "webp-lossy": lambda: oversized_webp("VP8 "),
    "webp-lossless": lambda: oversized_webp("VP8L"),
    "webp-extended": lambda: oversized_webp("VP8X"),
}
"""The images that are refused, by name."""

DECODED: dict[str, Callable[[], bytes]] = {
    "data-excess": excess_data_png,
    "segments-color": lambda: many_segments_jpeg(mode="RGB"),
    "exif-png": exif_png,
    "exif-webp": exif_webp,
    "animated-png": animated_png,
    "animated-webp": animated_webp,
    "scans-in-comment": scans_in_metadata_jpeg,
}
"""The images that are decoded without the additional work, by name."""
