"""The quick check of an upload."""

import gzip
import io
import itertools
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.datasets.archives import uploads
from core.datasets.archives.budget import InspectionCancelled, InspectionEnded
from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.table_source import open_csv
from core.datasets.ingest.upload_check import check_upload
from core.datasets.tables.table_options import TableOptions
from core.errors import InvalidArchive, InvalidTable
from tests.support.cpu_limit import run_with_limits
from tests.support.images import class_images, write_zip

PETS = "name,kind,weight\nTom,cat,4.2\nRex,dog,30.5\n"
LIMITS = UploadLimits()


def write_table(folder: Path, content: str | bytes) -> Path:
    path = folder / "a"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_kind_and_all_options_are_returned(tmp_path: Path) -> None:
    kind, options = check_upload(write_table(tmp_path, PETS), LIMITS, {"target": ["kind"], "is_table": False})
    assert (kind, options["target"], options["missing"], options["window"]) == ("table", ["kind"], "drop", None)


def test_an_option_must_name_a_column_of_the_header(tmp_path: Path) -> None:
    with pytest.raises(InvalidTable, match="did you mean 'kind'") as raised:
        check_upload(write_table(tmp_path, PETS), LIMITS, {"target": ["kidn"]})
    assert raised.value.errors[0][0] == "?target"


def test_an_option_of_images_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match="is not an option of a table"):
        check_upload(write_table(tmp_path, PETS), LIMITS, {"resize": "crop"})


def test_contradictory_options_of_images_are_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", class_images(2, 2))
    options = {"resize": "pad", "resize_shorter_side": 70, "image_size": "64"}
    with pytest.raises(InvalidArchive, match="must be crop with resize_shorter_side, got pad") as raised:
        check_upload(path, LIMITS, options)
    assert raised.value.errors[0][0] == "?resize"
    _, accepted = check_upload(path, LIMITS, {"resize_shorter_side": 70, "image_size": "64"})
    assert (accepted["resize"], accepted["resize_shorter_side"]) == ("crop", 70)


def test_a_file_with_one_column_is_a_table_only_if_it_is_declared_as_one(tmp_path: Path) -> None:
    path = write_table(tmp_path, "demand\n1\n2\n")
    assert check_upload(path, LIMITS, {"is_table": True})[0] == "table"
    with pytest.raises(InvalidArchive, match=r"is not a zip, tar or tar\.gz archive, or a CSV table"):
        check_upload(path, LIMITS, {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_a_table_is_recognized(
    encoding: str, compress: Callable[[bytes], bytes], delimiter: str, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(compress(PETS.replace(",", delimiter).encode(encoding)))
    assert check_upload(path, LIMITS, {"target": ["kind"]})[0] == "table"


@pytest.mark.parametrize("folder", ["cat", "a,b"])
def test_a_gzipped_tar_archive_is_not_a_table(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(f"{folder}/a.png")
        archive.addfile(entry, io.BytesIO())
    assert check_upload(path, LIMITS, {"is_table": True})[0] == "gzip"


def test_the_check_of_a_table_ends_after_its_time(tmp_path: Path) -> None:
    path = write_table(tmp_path, "\n" * 50 + PETS)
    ticks = itertools.count(step=0.5)
    assert check_upload(path, LIMITS, {"target": ["kidn"], "is_table": True}, clock=lambda: next(ticks))[0] == "table"
    assert next(ticks) < 10


def test_the_check_of_a_table_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    path = write_table(tmp_path, "\n" * 50 + PETS)
    checks = itertools.count()
    with pytest.raises(InspectionCancelled):
        check_upload(path, LIMITS, {"is_table": True}, is_cancelled=lambda: next(checks) >= 3)
    assert next(checks) == 4


LONG_LINE = gzip.compress(b"x" * 2**22 + b"\n" + PETS.encode())
EMPTY_MEMBERS = gzip.compress(b"") * 1000 + gzip.compress(PETS.encode())


@pytest.mark.parametrize("content", [LONG_LINE, EMPTY_MEMBERS])
def test_the_check_of_a_gzipped_table_ends_after_its_time_within_a_line(content: bytes, tmp_path: Path) -> None:
    path = write_table(tmp_path, content)
    ticks = itertools.count(step=0.5)
    quick_check = uploads.start_quick_check(lambda: False, lambda: next(ticks))
    with pytest.raises(InspectionEnded):
        open_csv(path, TableOptions(), LIMITS, quick_check)
    assert next(ticks) < 10


@pytest.mark.parametrize("content", [LONG_LINE, EMPTY_MEMBERS])
def test_the_check_of_a_gzipped_table_ends_when_it_is_cancelled(content: bytes, tmp_path: Path) -> None:
    path = write_table(tmp_path, content)
    checks = itertools.count()
    with pytest.raises(InspectionCancelled):
        check_upload(path, LIMITS, {"is_table": True}, is_cancelled=lambda: next(checks) >= 20)
    assert next(checks) == 21


def test_the_detection_of_the_delimiter_ends_after_its_time(tmp_path: Path) -> None:
    path = write_table(tmp_path, PETS + "Tom,cat,4.2\n" * 100)
    ticks = itertools.count(step=0.1)
    assert check_upload(path, LIMITS, {"target": ["kidn"]}, clock=lambda: next(ticks))[0] == "table"
    assert next(ticks) < 6


HOSTILE: dict[str, tuple[bytes, dict[str, Any]]] = {
    "a header of quoted line breaks": (b'a,b,"' + b'\n","' * 2**23, {"delimiter": ","}),
    "line breaks that UTF-16 reads as other characters": (b"\n" * 2**24, {"encoding": "utf-16"}),
    "a header of empty names": (b"," * (2**24 - 2) + b"\n", {}),
    "a header of short names": (b"ab," * (2**22) + b"\n", {}),
    "a long row of short values": (b"a,b\n" + b"ab," * (2**22) + b"\n" + b"\n" * 2**20, {"target": ["c"]}),
    "a header of empty names after a line of a separator": (b"sep=;\n" + b";" * (2**24 - 2) + b"\n", {}),
    "a gzipped header of quoted line breaks": (gzip.compress(b'a,b,"' + b'\n","' * 2**23), {"delimiter": ","}),
    "a gzipped header of empty names": (gzip.compress(b"," * (2**24 - 2) + b"\n"), {}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_rejected_with_little_cpu_time_and_memory(name: str, tmp_path: Path) -> None:
    content, options = HOSTILE[name]
    path = write_table(tmp_path, content)
    with pytest.raises(InvalidTable):
        run_with_limits(check_upload, path, LIMITS, {"is_table": True, **options}, cpu_s=4, new_bytes=400 * 2**20)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_delimiter_of_quoted_line_breaks_is_detected_with_little_cpu_time_and_memory(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = write_table(tmp_path, compress(b'a,b,"' + b'\n","' * 2**23))
    assert run_with_limits(check_upload, path, LIMITS, {"is_table": True}, cpu_s=4, new_bytes=400 * 2**20)[0] == "table"
