"""Failure codes and hints of errors."""

import errno
from pathlib import Path

import pytest
import torch

from models import variants
from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import build_spec
from worker.protocol import CheckpointWritten
from worker.trainer.error_classification import classify_error


def test_full_disk_has_a_failure_code(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("worker.engine.snapshot._write_json", fail_to_write)
    failed = run_to_failure(build_start(build_spec(), dataset, tmp_path / "work"))
    assert failed.code == "disk_full"
    assert list((tmp_path / "work" / "checkpoints").iterdir()) == []


def test_damaged_checkpoint_has_a_failure_code(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(), dataset, tmp_path / "a"))
    folder = Path(channel.select_messages(CheckpointWritten)[0].dir)
    (folder / "state.safetensors").write_bytes(b"short")
    start = build_start(build_spec(), dataset, tmp_path / "b", resume_dir=str(folder))
    assert run_to_failure(start).code == "checkpoint_corrupt"


def test_missing_package_is_an_invalid_spec() -> None:
    failed = classify_error(variants.MissingPackage("the package 'onnx' is not installed here"), None)
    assert (failed.code, "onnx" in failed.message) == ("invalid_spec", True)


def test_index_error_of_an_embedding_names_the_accepted_range() -> None:
    failed = classify_error(IndexError("index out of range in self"), None)
    assert (failed.code, "0 to num - 1" in failed.hint) == ("invalid_spec", True)


def test_lack_of_memory_is_classified_by_its_place_and_suggests_smaller_options(dataset: Path) -> None:
    spec = build_spec(batch_size=16, precision="fp32")
    failed = classify_error(torch.OutOfMemoryError("CUDA out of memory"), spec, dataset)
    assert failed.code == "gpu_out_of_memory"
    assert failed.extra == {"image_shape": [1, 8, 8], "batch_size": 16, "architecture": "convnet"}
    assert failed.hint.startswith('Try `"on_oom": "accumulate"`')
    assert failed.hint.endswith("or smaller images than 1x8x8.")
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        assert classify_error(error, spec).code == "host_out_of_memory"


def test_first_known_error_in_the_chain_of_causes_counts() -> None:
    error = RuntimeError("a callback failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert classify_error(error, None).code == "disk_full"
    unknown = classify_error(ValueError("no idea"), None)
    assert (unknown.code, unknown.message) == ("internal", "ValueError: no idea")
