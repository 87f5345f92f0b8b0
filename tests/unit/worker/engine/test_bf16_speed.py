"""Tests of measuring whether a processor is faster in bf16."""

from collections.abc import Iterator

import pytest
import torch

from worker.engine import bf16_speed


@pytest.fixture(autouse=True)
def _forget_measurements() -> Iterator[None]:
    bf16_speed.is_faster_in_bf16.cache_clear()
    yield
    bf16_speed.is_faster_in_bf16.cache_clear()


@pytest.mark.parametrize(
    ("bf16_s", "fp32_s", "is_faster"), [(0.001, 0.004, True), (0.004, 0.001, False), (0.001, 0.001, False)]
)
def test_the_faster_product_decides(
    bf16_s: float, fp32_s: float, is_faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {torch.bfloat16: bf16_s, torch.float32: fp32_s}
    monkeypatch.setattr(bf16_speed, "_measure_product", times.__getitem__)
    assert bf16_speed.is_faster_in_bf16() is is_faster


def test_the_fastest_product_counts_and_is_measured_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 11.0, 12.0, 17.0, 18.0, 20.0, 30.0, 39.0, 40.0, 43.0, 50.0, 52.0, 60.0, 69.0])
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    assert bf16_speed.is_faster_in_bf16()  # 1 s in bf16, 2 s in fp32
    assert bf16_speed.is_faster_in_bf16()
    assert next(clock, None) is None


def test_real_products_take_cpu_time() -> None:
    assert 0 < bf16_speed._measure_product(torch.float32) < 60
