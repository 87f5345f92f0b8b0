"""The orientation in EXIF data."""

import struct

import pytest
from PIL import Image

from core.exif import read_orientation
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_images import shared_values_exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_pillow_writes_is_read(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x0131] = "maker", orientation, "software"
    assert read_orientation(exif.tobytes()) == orientation
    assert read_orientation(exif.tobytes().removeprefix(b"Exif\0\0")) == orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_both_byte_orders_and_integer_types_are_read(order: str, kind: int) -> None:
    value = struct.pack(f"{order}H2x", 6) if kind == 3 else struct.pack(f"{order}L", 6)
    tag = struct.pack(f"{order}HHL", 0x0112, kind, 1) + value
    header = b"II*\0" if order == "<" else b"MM\0*"
    assert read_orientation(header + struct.pack(f"{order}LH", 8, 1) + tag) == 6


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"II*\0", b"II*\0" + b"\xff" * 40, b"MM\0*\0\0\0\x08\0\x09", b"x" * 100]
)
def test_invalid_data_has_the_default_orientation(exif: bytes) -> None:
    assert read_orientation(exif) == 1


def test_values_of_other_tags_are_not_copied() -> None:
    assert run_with_limits(read_orientation, shared_values_exif(2**22), new_bytes=2**27) in (0, 1)
