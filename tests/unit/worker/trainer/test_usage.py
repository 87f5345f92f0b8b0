"""Samples of what a trainer uses."""

import mmap
import time
from pathlib import Path

import pytest
import torch

from tests.support.fakes import Clock
from worker.engine.state import RunState
from worker.trainer import usage
from worker.trainer.usage import UsageSampler, read_memory


@pytest.fixture
def cpu_clock() -> Clock:
    return Clock()


@pytest.fixture
def sampler(clock: Clock, cpu_clock: Clock) -> UsageSampler:
    return UsageSampler(clock=clock, cpu_clock=cpu_clock)


def build_state(batch_size: int, wait_seconds: float) -> RunState:
    return RunState(1, 1, batch_size=batch_size, wait_seconds=wait_seconds)


def test_a_sample_has_the_use_since_the_previous_one(sampler: UsageSampler, clock: Clock, cpu_clock: Clock) -> None:
    for wait_s in (0.5, 1.0, 0.25):  # the third batch is the first of a new epoch
        sampler.count_batch(build_state(32, wait_s))
    clock.now += 5
    cpu_clock.now += 7.5
    first = sampler.sample()
    assert first["cpu_percent"] == pytest.approx(150)
    assert first["data_wait"] == pytest.approx(1.25 / 5)
    assert first["images_per_s"] == pytest.approx(96 / 5)
    sampler.count_batch(build_state(10, 0.5))
    clock.now += 10
    second = sampler.sample()
    assert second["cpu_percent"] == 0
    assert second["data_wait"] == pytest.approx(0.25 / 10)
    assert second["images_per_s"] == pytest.approx(1)


def test_samples_are_at_least_five_seconds_apart_but_the_first_epoch_has_one(
    sampler: UsageSampler, clock: Clock
) -> None:
    assert sampler.sample(is_epoch_end=True) == {}  # no time has passed
    clock.now += 1
    assert sampler.sample() == {}
    assert sampler.sample(is_epoch_end=True)
    clock.now += 4
    assert sampler.sample(is_epoch_end=True) == {}
    clock.now += 1
    assert sampler.sample()


def test_resident_memory_is_that_of_this_process() -> None:
    (name, before), *_ = read_memory().items()
    assert name == "memory_mib"
    with mmap.mmap(-1, 64 * 2**20) as block:  # new pages: the heap may have free ones that are resident
        block.write(b"x" * len(block))
        assert read_memory()["memory_mib"] - before > 32


def test_systems_without_proc_report_no_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(usage, "STATM", tmp_path / "statm")
    assert read_memory() == {}


def test_a_gpu_reports_its_memory_and_load_if_it_can(
    sampler: UsageSampler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = iter([40, 60])
    for name, value in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "memory_allocated": lambda: 3 * 2**20,
        "utilization": lambda: next(loads),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    clock.now += 5
    sample = sampler.sample()
    assert (sample["gpu_memory_mib"], sample["gpu_percent"]) == (3, 40)

    def fail() -> int:
        raise ModuleNotFoundError("No module named 'pynvml'")

    monkeypatch.setattr(torch.cuda, "utilization", fail)
    clock.now += 5
    assert "gpu_percent" not in sampler.sample()
    monkeypatch.setattr(torch.cuda, "utilization", lambda: next(loads))
    clock.now += 5
    assert "gpu_percent" not in sampler.sample()  # it is not tried again


def test_sampling_takes_less_than_a_thousandth_of_a_core() -> None:
    sampler, state = UsageSampler(every_s=0.0), build_state(32, 0.1)
    started_s = time.thread_time()
    for _ in range(100):
        sampler.sample()
    per_sample_s = (time.thread_time() - started_s) / 100
    started_s = time.thread_time()
    for _ in range(10_000):
        sampler.count_batch(state)
    per_batch_s = (time.thread_time() - started_s) / 10_000
    assert per_sample_s / 5 + 100 * per_batch_s < 1e-3  # a sample every 5 s, and 100 batches per second
