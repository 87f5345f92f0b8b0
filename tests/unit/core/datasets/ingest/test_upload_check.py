"""The quick check of an upload."""

import itertools
from pathlib import Path

import pytest

from core.datasets.archives.budget import InspectionCancelled
from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.upload_check import check_upload
from core.errors import InvalidArchive, InvalidTable
from tests.support.cpu_limit import run_with_limits

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


def test_a_file_with_one_column_is_a_table_only_if_it_is_declared_as_one(tmp_path: Path) -> None:
    path = write_table(tmp_path, "demand\n1\n2\n")
    assert check_upload(path, LIMITS, {"is_table": True})[0] == "table"
    with pytest.raises(InvalidArchive, match=r"is not a zip, tar or tar\.gz archive, or a CSV table"):
        check_upload(path, LIMITS, {})


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


HOSTILE = {
    "a header of quoted line breaks": (b'a,b,"' + b'\n","' * 2**23, {}),
    "line breaks that UTF-16 reads as other characters": (b"\n" * 2**24, {"encoding": "utf-16"}),
    "a header of empty names": (b"," * (2**24 - 2) + b"\n", {}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_rejected_with_little_cpu_time_and_memory(name: str, tmp_path: Path) -> None:
    content, options = HOSTILE[name]
    path = write_table(tmp_path, content)
    with pytest.raises(InvalidTable):
        run_with_limits(check_upload, path, LIMITS, {"is_table": True, **options}, cpu_s=4, new_bytes=400 * 2**20)
