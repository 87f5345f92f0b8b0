"""Images and archives for tests, valid and damaged."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def random_pixels(seed: int = 0, height: int = 12, width: int = 10, channels: int = 3) -> NDArray[np.uint8]:
    """Return noise, uint8 (H, W, C), or (H, W) for a single channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def encode_image(array: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the image as a file of that format."""
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def random_png(seed: int = 0, **options: int) -> bytes:
    """Return noise as a PNG file."""
    return encode_image(random_pixels(seed, **options))


def class_images(count: int = 3, each: int = 4, prefix: str = "", first: int = 0, **options: int) -> dict[str, bytes]:
    """Return files `{prefix}class_0/00.png` and so on. All are different, also for another `first`."""
    return {
        f"{prefix}class_{label}/{number:02d}.png": random_png(first + 1000 * label + number, **options)
        for label in range(count)
        for number in range(each)
    }


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip archive and return its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """Write a tar archive and return its path."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # a mode is a literal
        for name, body in files.items():
            add_tar_file(archive, name, body)
    return path


def add_tar_file(archive: tarfile.TarFile, name: str, body: bytes = b"") -> None:
    """Add a file to an open tar archive."""
    member = tarfile.TarInfo(name)
    member.size = len(body)
    archive.addfile(member, io.BytesIO(body))


def encode_oversized_png(width: int, height: int) -> bytes:
    """Return a PNG that declares a size but has almost no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 1000))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in [*chunks, (b"IEND", b"")])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def black_png(side: int) -> bytes:
    """Return a valid black PNG of side x side as a small file."""
    return encode_image(Image.new("1", (side, side)), "PNG", optimize=False)
