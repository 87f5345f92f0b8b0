"""Normalization of a job."""

import numpy as np
import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset, Task
from core.errors import InvalidSpec
from tests.support.training import build_small_run
from worker.builders.preprocessing import MAX_SAMPLE_INPUTS, iter_sample_inputs


def test_normalize_must_have_one_value_per_channel(datasets: dict[Task, PackedDataset]) -> None:
    normalize = {"name": "normalize", "mean": [0.5, 0.5], "std": [0.2, 0.2]}
    with pytest.raises(InvalidSpec, match="normalize: mean and std must have 1 values"):
        build_small_run(datasets["classification"], dataset={"name": "synthetic", "train_transforms": [normalize]})


@pytest.mark.parametrize(("num_samples", "num_read"), [(1, 1), (7, 7), (3 * MAX_SAMPLE_INPUTS, MAX_SAMPLE_INPUTS)])
def test_sample_inputs_are_evenly_spaced(num_samples: int, num_read: int) -> None:
    samples = np.arange(2 * num_samples)[:, None]
    index = np.arange(num_samples) * 2
    inputs = torch.cat(list(iter_sample_inputs(nn.Identity(), samples, index))).flatten()
    assert (len(inputs), inputs[0].item(), inputs[-1].item()) == (num_read, 0, index[-1])
    assert set(inputs.tolist()) <= set(index.tolist())
    assert len(set(inputs.diff().tolist())) <= 2
