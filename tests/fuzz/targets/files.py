"""Targets that read uploaded files: archives, images and tables."""

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import numpy as np
from PIL import Image

from core.datasets.archives import uploads
from core.datasets.archives.layout import infer_layout
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.spool import ImageSpool
from core.datasets.ingest.table import pack_table
from core.datasets.ingest.upload_check import check_upload
from core.errors import InvalidArchive, ServiceError
from core.images import ImageSize, decode_image, read_image_size
from core.resizing import ResizePolicy
from tests.fuzz.budget import MAX_INPUT_BYTES
from tests.fuzz.mutations import mutate_gzip, mutate_image, mutate_tar
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.errors import check_problem
from tests.fuzz.targets.scratch import get_output_folder, write_input
from tests.support import hostile_archives, hostile_formats, hostile_images
from tests.support.images import add_tar_file, encode_image, random_pixels, random_png

# Smaller than the defaults, so that small inputs reach every limit.
LIMITS = UploadLimits(max_entries=2000, max_bytes=16 * 2**20, max_image_bytes=2**20, ratio_floor=4 * 2**20)
TABLE_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"missing": "impute"},
    {"encoding": "utf-16"},
    {"encoding": "latin-1", "delimiter": ";"},
    {"encoding": "cp1252", "task": "classification"},
    {"task": "regression", "missing": "impute"},
    {"task": "binary"},
    {"window": 2, "horizon": 1},
    {"window": 3, "horizon": 2, "test_share": 0.2, "missing": "impute"},
    {"weight": "b"},
    {"target": ("a",), "numeric": ("b",), "is_table": True},
    {"target": ("a", "b"), "ignore": ("c",), "is_table": True},
    {"columns": ("a",), "categorical": ("a",), "is_table": True},
)
"""The options of a table. The first byte of an input selects one."""
POLICIES = (
    ((1, 8, 8), ResizePolicy("crop")),
    ((3, 16, 8), ResizePolicy()),
    ((3, 8, 8), ResizePolicy("crop", 10, interpolation="bicubic")),
    ((1, 8, 8), ResizePolicy("pad", pad_color=(1, 2, 3), interpolation="bilinear")),
)
"""The shapes and policies with which an image is decoded."""


def read_archive(body: bytes) -> None:
    """Inspect an archive as an upload does, and then read it as an import does."""
    path = write_input(body)
    try:
        uploads.inspect_upload(path, LIMITS)
        spool_path = path.with_name("spool")
        spool_path.unlink(missing_ok=True)
        with closing(ImageSpool(spool_path, LIMITS)) as spool:
            spool.extract_images(_check_entries(uploads.read_entries(path, LIMITS)))
            parts = [image.parts for image in spool.spooled_images]
            infer_layout([*parts, *spool.unreadable_parts], spool.folders)
    except InvalidArchive as error:
        check_problem(error)


def _check_entries(entries: Iterable[Any]) -> Iterable[Any]:
    for entry in entries:
        assert entry.parts, entry
        assert not {"", ".", ".."} & set(entry.parts), entry.parts
        assert not any("/" in part or "\\" in part or "\0" in part for part in entry.parts), entry.parts
        yield entry


def decode_any_image(body: bytes) -> None:
    """Decode an image to grey and to RGB. Both, and the size in the header, agree on whether it is an image."""
    size: ImageSize | None = None
    try:
        size = read_image_size(body)
    except ServiceError as error:
        check_problem(error)
    for shape, policy in POLICIES:
        channels, height, width = shape
        try:
            pixels = decode_image(body, shape, resize=policy)
        except ServiceError as error:
            check_problem(error)
        else:
            assert size is not None, "the image is decoded, but its size cannot be read"
            assert pixels.shape == (height, width, channels)
            assert pixels.dtype == np.uint8


def import_table(body: bytes) -> None:
    """Check a table as an upload does, and then import it."""
    requested = TABLE_OPTIONS[body[0] % len(TABLE_OPTIONS)] if body else {}
    path = write_input(body[1:])
    try:
        kind, options = check_upload(path, LIMITS, requested)
        if kind == "table":
            pack_table(path, get_output_folder(), LIMITS, options)
    except ServiceError as error:
        check_problem(error)


def _limit_size(seeds: Iterable[bytes]) -> list[bytes]:
    return [seed for seed in seeds if len(seed) <= MAX_INPUT_BYTES]


FILES = {"cat/1.png": random_png(1), "dog/1.png": random_png(2), "dog/deep/2.jpg": b"no image"}


def _build_zip(files: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def _build_tar(files: dict[str, bytes], tar_format: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as archive:
        for name, content in files.items():
            add_tar_file(archive, name, content)
    content = file.getvalue().rstrip(b"\0")  # without the padding to a record of 10 KiB
    return content + bytes(-len(content) % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def build_tars() -> list[bytes]:
    """Return valid and hostile tar archives."""
    files = FILES | {f"train/{'long' * 40}/1.png": random_png(3), "train/weights.csv": b"name,weight\n1.png,2\n"}
    formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    hostile = [build() for name, build in hostile_archives.CORPUS.items() if name not in _LARGE_ARCHIVES]
    plain = [body for body in hostile if body[:2] not in (b"PK", b"\x1f\x8b")]
    return _limit_size(
        [
            *(_build_tar(FILES, tar_format) for tar_format in formats),
            *(_build_tar(files, tar_format) for tar_format in formats[1:]),
            *plain,
            hostile_archives.extension_flood_tar(20),
            b"".join(hostile_archives.tar_header(f"d{number}/", kind=tarfile.DIRTYPE) for number in range(20))
            + bytes(1024),
        ]
    )


_LARGE_ARCHIVES = {"hidden-claimed-size", "global-pax", "bomb", "empty-members", "long-name", "large-directory"}


def build_gzips() -> list[bytes]:
    """Return valid and hostile tar.gz archives."""
    return _limit_size(
        [
            *(gzip.compress(body, 1, mtime=0) for body in build_tars()),
            hostile_archives.hidden_claimed_size_tar(100),
            hostile_archives.global_pax_tar(30, 10),
            hostile_archives.bomb_tar(2**23),
            hostile_archives.empty_members_gzip(100),
            hostile_archives.long_name_gzip(1000),
            gzip.compress(_build_tar(FILES, tarfile.GNU_FORMAT)[:1024]) + gzip.compress(bytes(1024)),
        ]
    )


def build_zips() -> list[bytes]:
    """Return valid and hostile zip archives."""
    names = {f"class_{number}/é{number}.png": random_png(number) for number in range(3)} | {"empty/": b""}
    return _limit_size(
        [
            *(_build_zip(files, method) for files in (FILES, names, {}) for method in (0, zipfile.ZIP_DEFLATED)),
            hostile_archives.claimed_size_zip(),
            hostile_archives.claimed_size_zip(100),
            hostile_archives.large_directory_zip(3, 100, 100),
            hostile_archives.overlapping_zip(20, 2**16),
        ]
    )


def build_images() -> list[bytes]:
    """Return valid and hostile images in every format and mode."""
    color, grey = Image.fromarray(random_pixels(1)), Image.fromarray(random_pixels(1, channels=1))
    modes = [color.convert(mode) for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "CMYK")]
    exif = Image.Exif()
    exif[0x112] = 6
    return _limit_size(
        [
            *(encode_image(image, "PNG") for image in modes if image.mode != "CMYK"),
            *(encode_image(image, "JPEG") for image in modes if image.mode in ("RGB", "L", "CMYK")),
            encode_image(color, "JPEG", progressive=True, exif=exif),
            encode_image(grey.convert("I;16"), "PNG"),
            *(encode_image(color, "WEBP", lossless=lossless, exif=exif) for lossless in (True, False)),
            encode_image(color, "PNG", exif=exif),
            *(encode_image(image, "GIF") for image in (color, grey, modes[2])),
            *(encode_image(image, "BMP") for image in modes if image.mode not in ("LA", "CMYK")),
            *(encode_image(image, "TIFF", compression=name) for image in modes for name in ("raw", "tiff_lzw")),
            *(
                encode_image(color, "TIFF", compression=name, exif=exif)
                for name in ("packbits", "tiff_deflate", "jpeg")
            ),
            encode_image(grey.convert("I;16"), "TIFF"),
            *_build_other_formats(),
            *_build_hostile_images(),
        ]
    )


def _build_hostile_images() -> list[bytes]:
    return [
        hostile_images.multi_scan_jpeg(64, 30),
        hostile_images.multi_scan_jpeg(64, 120, 4),
        hostile_images.repeated_scan_jpeg(64, 60),
        hostile_images.many_segments_jpeg(100),
        hostile_images.scans_in_metadata_jpeg(50),
        hostile_images.text_bomb_png(num_chunks=20),
        hostile_images.excess_data_png(2**22),
        *(hostile_images.build_png(50, 50, depth=16, color=color) for color in (0, 2, 4, 6)),
        hostile_images.many_chunks_png(num_chunks=50),
        hostile_images.animated_png(32, 4),
        hostile_images.animated_webp(32, 4),
        *(hostile_images.oversized_webp(kind) for kind in ("VP8 ", "VP8L", "VP8X")),
        *(hostile_images.oversized_webp(kind, 40, 30) for kind in ("VP8 ", "VP8L", "VP8X")),
    ]


def _build_other_formats() -> list[bytes]:
    """Return hostile GIF, BMP and TIFF files that are small."""
    rows = hostile_formats.grey_tags(1, 16, t273=(4, range(8, 24)), t278=(4, [1]), t279=(4, [1] * 16))
    return [
        hostile_formats.animated_gif(32, 4),
        hostile_formats.insert_gif_blocks(b"!\xfe\1x\0" * 20 + b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"),
        *(hostile_formats.resize_gif(40, 30, frame=frame) for frame in (True, False)),
        hostile_formats.flood_gif(2**12),
        hostile_formats.build_bmp(5, -4, content=bytes(64)),
        hostile_formats.build_bmp(5, 4, bits=16, compression=3, content=bytes(100)),
        hostile_formats.skipping_bmp(1000),
        *(hostile_formats.build_tiff(rows, bytes(range(64)), order=order) for order in "<>"),
        hostile_formats.large_tile_tiff(64),
        hostile_formats.empty_blocks_tiff(2**10),
        hostile_formats.paged_tiff(32, 3),
    ]


def build_tables() -> list[bytes]:
    """Return tables with the index of their options in the first byte."""
    rows = "a,b,c\n1,2.5,x\n2,3.5,y\n3,4,x\n,5,y\n5,1e3,x\n"
    series = "a;b\n" + "".join(f"{number};{number % 3}\n" for number in range(30))
    quoted = '"a ""1""","b\n2",c\n" 1","NA",yes\n-1,0.1,no\n'
    texts = [
        rows,
        series,
        quoted,
        "a\n1\n2\n",
        "a,b\n=1+1,@x\n",
        "b,a,c\n0,1,2\n1,2,3\n0,3,5\n",
        "a,b\n1e308,1\n-1e308,2\n",
    ]
    bodies = [text.encode() for text in texts] + [
        rows.encode("utf-16"),
        b"\xef\xbb\xbf" + rows.encode(),
        b"a,b\n\xff,1\n",
    ]
    return [bytes([option]) + body for body in bodies for option in range(len(TABLE_OPTIONS))]


def _mutate_gzip(body: bytes, rng: random.Random) -> bytes | None:
    return mutate_gzip(body, rng, mutate_tar)


ARCHIVE_TOKENS = (
    b"ustar\0" + b"00",
    b"../",
    b"path=",
    b"size=",
    b"GNU.sparse.",
    b"weights.csv",
    b"PK\1\2",
    b"PK\5\6",
    b"PK\6\6",
)
IMAGE_TOKENS = (
    b"\xff\xda",
    b"\xff\xc2",
    b"\xff\xd9",
    b"Exif\0\0",
    b"Adobe",
    b"IHDR",
    b"IDAT",
    b"eXIf",
    b"acTL",
    b"PLTE",
    b"tRNS",
    b"GIF89a",
    b"!\xf9\4",
    b"!\xfe",
    b"BM",
    b"II*\0",
    b"MM\0*",
)
TABLE_TOKENS = (
    b",",
    b";",
    b'"',
    b'""',
    b"\n",
    b"\r\n",
    b"NA",
    b"nan",
    b"inf",
    b"1e999",
    b"-0",
    b"\0",
    b"1_0",
    "\u0661".encode(),
)
TARGETS = {
    "archive_tar": FuzzTarget(read_archive, build_tars, mutate_tar, ARCHIVE_TOKENS),
    "archive_gzip": FuzzTarget(read_archive, build_gzips, _mutate_gzip, ARCHIVE_TOKENS),
    "archive_zip": FuzzTarget(read_archive, build_zips, tokens=ARCHIVE_TOKENS),
    "image": FuzzTarget(decode_any_image, build_images, mutate_image, IMAGE_TOKENS),
    "table_csv": FuzzTarget(import_table, build_tables, tokens=TABLE_TOKENS),
}
