"""Packing one dataset: results and failures with a hint."""

import resource
from pathlib import Path
from typing import Any

import pytest

from core.datasets.archives.limits import UploadLimits
from tests.support.cpu_limit import run_with_limits
from tests.support.images import class_images, write_zip
from worker.importing import process
from worker.importing.process import PackRequest, pack_dataset


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def build_request(out: Path, **changes: Any) -> PackRequest:
    return PackRequest(**{"out": out, "options": {}, "name": "digits"} | changes)


def test_a_packed_dataset_has_the_digest_of_every_file(out: Path) -> None:
    result = pack_dataset(build_request(out, name="synthetic", options={"num_samples": 20, "image_shape": [1, 4, 4]}))
    assert result.failure is None
    assert set(result.files) == {path.name for path in out.iterdir()}
    assert result.files["meta.json"]["size_bytes"] == (out / "meta.json").stat().st_size


def test_unknown_options_are_a_failure(out: Path) -> None:
    failure = pack_dataset(build_request(out, options={"colour": 1})).failure
    assert failure is not None
    assert failure.code == "invalid_options"


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left"), "disk_full"), (MemoryError(), "host_out_of_memory")]
)
def test_missing_disk_space_and_memory_are_failures(
    out: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("worker.importing.process.pack_builtin", fail)
    failure = pack_dataset(build_request(out)).failure
    assert failure is not None
    assert failure.code == code


def test_other_os_errors_are_raised(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr("worker.importing.process.pack_builtin", fail)
    with pytest.raises(OSError, match="Permission denied"):
        pack_dataset(build_request(out))


def get_limits(request: PackRequest) -> list[int]:
    """Apply the limits to this process. Return the soft limits of memory and processor time."""
    process._set_resource_limits(request)
    return [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)]


def test_the_process_limits_its_resources(out: Path) -> None:
    hours = 4 * 3600
    assert run_with_limits(get_limits, build_request(out), cpu_s=2 * hours) == [8 * 2**30, hours]


def test_an_unsafe_archive_has_a_hint(out: Path, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "upload.zip", class_images(2, 2) | {"../evil.png": b"x"})
    failure = pack_dataset(build_request(out, archive=archive, limits=UploadLimits())).failure
    assert failure is not None
    assert failure.code == "archive_unsafe_entry"
    assert failure.hint.startswith("Create the archive from regular files and folders. `tar -h`")
