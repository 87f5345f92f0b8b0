"""Tests of measuring steps in bf16 and in fp32, and of choosing one."""

from pathlib import Path

import pytest

from tests.support.training import build_small_run, pack
from worker.engine import precision_finder
from worker.engine.batch_size_finder import StepTime
from worker.engine.callback import Callback
from worker.engine.device import Precision
from worker.engine.precision_finder import PrecisionTrial, choose_precision, measure_precisions, to_dicts
from worker.engine.run import Run
from worker.engine.state import RunState


class Interruption(Callback):
    def on_train_batch_end(self, state: RunState) -> None:
        state.interrupt()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return build_small_run(pack(tmp_path / "packed", num_samples=40), batch_size=16)


def use_times(monkeypatch: pytest.MonkeyPatch, *seconds: float | None) -> None:
    """Let the measurements return these CPU seconds of a step, one after the other."""
    left = list(seconds)

    def measure(_run: Run, _observers: object) -> StepTime | None:
        duration = left.pop(0)
        return None if duration is None else StepTime(duration, 16)

    monkeypatch.setattr(precision_finder, "measure_cpu_time", measure)


def test_both_precisions_are_measured_each_in_its_own_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    use_times(monkeypatch, 0.12345, 0.5)
    built: list[Precision] = []

    def build(precision: Precision) -> Run:
        built.append(precision)
        return run

    trials = measure_precisions(build)
    assert built == ["bf16", "fp32"]
    assert to_dicts(trials) == [{"precision": "bf16", "cpu_s": 0.1235}, {"precision": "fp32", "cpu_s": 0.5}]


def test_a_network_with_short_steps_is_not_measured_in_fp32(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    use_times(monkeypatch, precision_finder.MIN_STEP_CPU_S * 0.9)
    assert measure_precisions(lambda _: run) == []


def test_the_cpu_time_of_real_steps_is_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_finder, "MIN_STEP_CPU_S", 0.0)
    trials = measure_precisions(lambda _: run)
    assert [trial.precision for trial in trials] == ["bf16", "fp32"]
    assert all(0 < trial.cpu_s < 60 for trial in trials)


def test_an_interrupted_measurement_has_no_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_finder, "MIN_STEP_CPU_S", 0.0)
    assert measure_precisions(lambda _: run, (Interruption(),)) == []


@pytest.mark.parametrize(
    ("bf16", "fp32", "chosen"),
    [(1.0, 2.6, "bf16"), (1.0, 1.21, "bf16"), (1.0, 1.19, "fp32"), (1.0, 1.0, "fp32"), (1.3, 1.0, "fp32")],
)
def test_bf16_must_be_clearly_faster(bf16: float, fp32: float, chosen: str) -> None:
    assert choose_precision([PrecisionTrial("bf16", bf16), PrecisionTrial("fp32", fp32)]) == chosen


def test_without_trials_the_network_trains_in_bf16() -> None:
    assert choose_precision([]) == "bf16"
