"""Tests of placements on a machine without a GPU."""

import os

import pytest
import torch

from worker.engine import device


@pytest.mark.parametrize(
    ("capability", "has_bf16", "has_amx", "is_faster", "precision"),
    [
        ("AVX512", True, False, True, "bf16"),
        ("AVX512", False, True, True, "bf16"),
        ("AVX512", True, False, False, "fp32"),  # the instructions without a gain
        ("AVX512", False, False, True, "fp32"),
        ("AVX2", False, False, True, "fp32"),
        ("AVX2", True, True, True, "fp32"),  # the processor supports bf16, but ATEN_CPU_CAPABILITY disables it
    ],
)
def test_auto_device_is_the_cpu_without_a_gpu(
    capability: str, has_bf16: bool, has_amx: bool, is_faster: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(device, "is_faster_in_bf16", lambda: is_faster)
    placement = device.build_placement()
    assert placement.device.type == "cpu"
    assert placement.threads == len(os.sched_getaffinity(0))
    assert placement.precision == precision


def test_missing_device_raises_unavailable() -> None:
    with pytest.raises(device.DeviceUnavailable, match=r"'cuda:99' was requested; this machine has \d+ CUDA devices"):
        device.build_placement("cuda:99")


def test_explicit_device_and_precision_override_auto() -> None:
    placement = device.build_placement("cpu", "fp32", 3)
    assert (placement.precision, placement.threads) == ("fp32", 3)
    assert placement.build_grad_scaler() is None
    assert device.build_placement("cpu", "fp16").build_grad_scaler() is not None


def test_networks_use_channels_last() -> None:
    network = device.build_placement("cpu").place_network(torch.nn.Conv2d(3, 4, 3))
    assert next(network.parameters()).is_contiguous(memory_format=torch.channels_last)
