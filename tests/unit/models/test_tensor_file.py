"""Safetensors files agree with the safetensors library."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import tensor_file

TENSORS = {
    "weight ü": torch.randn(3, 4, 2, 2),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(7),
    "half": torch.randn(5).bfloat16(),
    "bytes": torch.arange(3, dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "double": torch.randn(2, dtype=torch.float64),
    "fp16": torch.randn(2).half(),
    "short": torch.tensor([1], dtype=torch.int16),
    "int": torch.tensor([1], dtype=torch.int32),
    "tiny": torch.tensor([-1], dtype=torch.int8),
    "complex": torch.randn(2, dtype=torch.complex64),
}


def test_file_equals_that_of_the_safetensors_library(tmp_path: Path) -> None:
    sha256 = tensor_file.write_tensors(tmp_path / "ours", TENSORS)
    save_file(TENSORS, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert sha256 == hashlib.sha256((tmp_path / "ours").read_bytes()).hexdigest()


def test_views_and_shared_memory_are_written_by_value(tmp_path: Path) -> None:
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    tensors = {"a": weight, "b": weight.transpose(0, 1), "c": weight[:, :1]}
    tensor_file.write_tensors(tmp_path / "it", tensors)
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(tmp_path / "it").items())


def test_unsupported_dtype_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"wide has dtype torch\.complex128"):
        tensor_file.write_tensors(tmp_path / "it", {"wide": torch.zeros(1, dtype=torch.complex128)})
    assert list(tmp_path.iterdir()) == []
