"""The file of features: rows are read in the memory format of the batches that were written."""

from pathlib import Path

import pytest
import torch

from tests.support.training import cpu_placement
from worker.engine.feature_table import FeatureTable


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(6,), (3, 2, 2), (4, 1, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rows_are_read_as_they_were_written(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    features = torch.randn(5, *shape).to(dtype)
    if len(shape) == 3:
        features = features.contiguous(memory_format=memory_format)
    table = FeatureTable(tmp_path / "features.bin", 5, features[:2], cpu_placement())
    table.write(0, features[:2])
    table.write(2, features[2:])
    rows = torch.tensor([4, 0, 0])
    gathered = table.gather(rows)
    assert torch.equal(gathered, features[rows])
    assert (gathered.dtype, gathered.stride()) == (dtype, features.stride())
    assert table.num_bytes == features.nbytes
    assert list(tmp_path.iterdir()) == []  # the file has no name, so that its space is freed with the process


def test_rows_of_a_larger_tensor_keep_their_stride(tmp_path: Path) -> None:
    tokens = torch.randn(4, 7, 3)
    table = FeatureTable(tmp_path / "features.bin", 4, tokens[:, 0], cpu_placement())
    table.write(0, tokens[:, 0])
    gathered = table.gather(torch.arange(4))
    assert torch.equal(gathered, tokens[:, 0])
    assert gathered.stride() == (21, 1)


def test_a_full_disk_is_an_error_before_the_first_write(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left|File too large|Invalid argument"):
        FeatureTable(tmp_path / "features.bin", 2**50, torch.zeros(1, 1024), cpu_placement())
