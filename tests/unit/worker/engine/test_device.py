"""Where and how it is computed, on a machine without a GPU."""

import os

import pytest
import torch

from worker.engine import device


def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    placement = device.place()
    assert placement.device.type == "cpu"
    assert placement.threads == len(os.sched_getaffinity(0))
    assert placement.precision == ("bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(device.Unavailable, match=r"'cuda:99' was asked for; this machine has \d+ CUDA devices"):
        device.place("cuda:99")


def test_a_wish_is_kept() -> None:
    placement = device.place("cpu", "fp32", 3)
    assert (placement.precision, placement.threads) == ("fp32", 3)
    assert placement.scaler() is None
    assert device.place("cpu", "fp16").scaler() is not None


def test_networks_lie_in_channels_last() -> None:
    network = device.place("cpu").network(torch.nn.Conv2d(3, 4, 3))
    assert next(network.parameters()).is_contiguous(memory_format=torch.channels_last)
