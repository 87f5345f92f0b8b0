"""GIF, BMP and TIFF files that need far more work or memory than their size suggests."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

from PIL import Image

Tags = Mapping[int, tuple[int, Sequence[int]]]
"""The values of TIFF tags with their type: 3 (SHORT) or 4 (LONG)."""
_TYPES = {3: "H", 4: "L"}


def insert_gif_blocks(blocks: bytes, side: int = 16) -> bytes:
    """Return a GIF with blocks before its first frame."""
    body = _encode_gif(side)
    at = body.index(b",\0\0\0\0")
    return body[:at] + blocks + body[at:]


def resize_gif(width: int, height: int, *, frame: bool = False) -> bytes:
    """Return a small GIF that declares another size, of its screen or of its frame."""
    body = bytearray(_encode_gif(16))
    at = body.index(b",\0\0\0\0") + 5 if frame else 6
    body[at : at + 4] = struct.pack("<HH", width, height)
    return bytes(body)


def flood_gif(num_bytes: int = 8 * 2**20) -> bytes:
    """Return a GIF whose pixels are preceded by many codes that clear the table and give no pixels."""
    body = _encode_gif(16)
    at = body.index(b",\0\0\0\0") + 10
    code_bits = body[at] + 1
    unit = sum(1 << code_bits - 1 + code_bits * number for number in range(8)).to_bytes(code_bits, "little")
    flood = unit * (num_bytes // len(unit))
    blocks = b"".join(bytes([len(part)]) + part for part in (flood[i : i + 255] for i in range(0, len(flood), 255)))
    return body[: at + 1] + blocks + body[at + 1 :]


def animated_gif(side: int = 1000, num_frames: int = 100) -> bytes:
    """Return an animated GIF with many frames."""
    file = io.BytesIO()
    frames = [Image.new("L", (side, side), number % 2 * 255) for number in range(num_frames)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _encode_gif(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "GIF")
    return file.getvalue()


def build_bmp(width: int, height: int, *, bits: int = 24, compression: int = 0, content: bytes = b"") -> bytes:
    """Return a BMP with any content."""
    header = struct.pack("<LiiHHLLiiLL", 40, width, height, 1, bits, compression, len(content), 0, 0, 0, 0)
    palette = bytes(4 << bits) if bits <= 8 else b""
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<LLL", start + len(content), 0, start) + header + palette + content


def skipping_bmp(width: int = 25_000_000) -> bytes:
    """Return a BMP with compressed runs that skip 255 rows of many pixels."""
    return build_bmp(width, 1, bits=8, compression=1, content=b"\0\2\0\xff" * 100 + b"\0\1")


def build_tiff(tags: Tags, content: bytes = b"", *, order: str = "<", num_entries: int = 0) -> bytes:
    """Return a TIFF with one directory. `content` starts at byte 8. `num_entries`: more copies of the first tag."""
    entries, values = b"", b""
    num_tags = len(tags) + num_entries
    start = 8 + len(content)
    values_start = start + 2 + 12 * num_tags + 4
    for tag, (kind, numbers) in [*tags.items(), *list(tags.items())[:1] * num_entries]:
        packed = struct.pack(f"{order}{len(numbers)}{_TYPES[kind]}", *numbers)
        if len(packed) <= 4:
            field = packed.ljust(4, b"\0")
        else:
            field = struct.pack(f"{order}L", values_start + len(values))
            values += packed
        entries += struct.pack(f"{order}HHL", tag, kind, len(numbers)) + field
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", num_tags) + entries + bytes(4)
    return mark + struct.pack(f"{order}L", start) + content + directory + values


def grey_tags(width: int = 16, height: int = 16, num_bytes: int = 256, **changes: tuple[int, Sequence[int]]) -> Tags:
    """Return the tags of a grey image with one strip at byte 8. Changes are keyed by `t` and the number of the tag."""
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        273: (4, [8]),
        277: (3, [1]),
        278: (4, [height]),
        279: (4, [num_bytes]),
    }
    return tags | {int(name[1:]): value for name, value in changes.items()}


def large_tile_tiff(side: int = 32_768) -> bytes:
    """Return a small TIFF with one tile of a gigabyte."""
    tags = {tag: value for tag, value in grey_tags().items() if tag not in (273, 278, 279)}
    tiles = {322: (4, [side]), 323: (4, [side]), 324: (4, [8]), 325: (4, [256])}
    return build_tiff({**tags, 259: (3, [8]), **tiles}, zlib.compress(bytes(2**20)))


def many_strips_tiff(num_strips: int = 500_000) -> bytes:
    """Return a TIFF in which every row of one pixel is a strip."""
    ones = [1] * num_strips
    return build_tiff(grey_tags(1, num_strips, t273=(4, ones), t278=(4, [1]), t279=(4, ones)), bytes(16))


def many_tags_tiff(num_tags: int = 60_000) -> bytes:
    """Return a TIFF with many tags."""
    return build_tiff(grey_tags(), bytes(256), num_entries=num_tags)


def shared_values_tiff(num_bytes: int = 2**22) -> bytes:
    """Return a TIFF with 900 tags that share one large value."""
    start = 8 + 256
    count = num_bytes // 2
    body = build_tiff(grey_tags(), bytes(256))
    directory = start
    entries = body[directory + 2 : directory + 2 + 12 * 9]
    values_start = directory + 2 + 12 * 909 + 4
    shared = b"".join(struct.pack("<HHLL", 40_000 + number, 3, count, values_start) for number in range(900))
    return body[:directory] + struct.pack("<H", 909) + entries + shared + bytes(4) + bytes(num_bytes)


def excess_data_tiff(num_bytes: int = 2**31) -> bytes:
    """Return a TIFF of 16 x 16 whose compressed strip has `num_bytes` bytes."""
    deflate = zlib.compressobj(9)
    content = deflate.compress(bytes(2**24)) + deflate.flush(zlib.Z_FULL_FLUSH)
    content += (deflate.compress(bytes(2**24)) + deflate.flush(zlib.Z_FULL_FLUSH)) * (num_bytes // 2**24 - 1)
    return build_tiff(grey_tags(num_bytes=len(content), t259=(3, [8])), content)


def empty_blocks_tiff(num_bytes: int = 2**19) -> bytes:
    """Return a TIFF whose compressed pixels follow many empty blocks."""
    deflate = zlib.compressobj(9)
    pixels = deflate.compress(bytes(256)) + deflate.flush()
    content = pixels[:2] + b"\0\0\0\xff\xff" * (num_bytes // 5) + pixels[2:]
    return build_tiff(grey_tags(num_bytes=len(content), t259=(3, [8])), content)


def paged_tiff(side: int = 1000, num_pages: int = 100) -> bytes:
    """Return a TIFF with many pages."""
    file = io.BytesIO()
    pages = [Image.new("L", (side, side), number) for number in range(num_pages)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    return file.getvalue()


REJECTED: dict[str, Callable[[], bytes]] = {
    "gif-extensions": lambda: insert_gif_blocks(b"!\xfe\0" * 5_000_000),
    "gif-blocks": lambda: insert_gif_blocks(b"!\xfe" + b"\1x" * 5_000_000 + b"\0"),
    "gif-screen": lambda: resize_gif(65_535, 65_535),
    "gif-frame": lambda: resize_gif(60_000, 60_000, frame=True),
    "bmp-size": lambda: build_bmp(2**25, 1, bits=1, content=bytes(2**22)),
    "tiff-size": lambda: build_tiff(grey_tags(100_000, 100_000), bytes(256)),
    "tiff-tile": large_tile_tiff,
    "tiff-strips": many_strips_tiff,
    "tiff-tags": many_tags_tiff,
}
"""The images that are refused, by name."""

DECODED: dict[str, Callable[[], bytes]] = {
    "gif-codes": flood_gif,
    "gif-comments": lambda: insert_gif_blocks((b"!\xfe\xff" + bytes(255) + b"\0") * 40_000),
    "gif-animated": animated_gif,
    "tiff-values": shared_values_tiff,
    "tiff-excess": excess_data_tiff,
    "tiff-empty-blocks": empty_blocks_tiff,
    "tiff-pages": paged_tiff,
}
"""The images that are decoded without the additional work, by name."""
