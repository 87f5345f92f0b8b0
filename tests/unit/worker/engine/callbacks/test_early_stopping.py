"""Tests of early stopping against luz's values, and of counting epochs."""

from typing import Any

import pytest

from worker.engine.callbacks import EarlyStopping
from worker.engine.state import RunState


def count_epochs_until_stop(callback: EarlyStopping, values: list[float], monitor: str = "valid_loss") -> int:
    state = RunState(max_epochs=len(values), steps_per_epoch=1)
    for epoch, value in enumerate(values, start=1):
        state.epoch, state.metrics = epoch, {monitor: value}
        callback.on_epoch_end(state)
        if state.stop_reason is not None:
            break
    return state.epoch


FALLING = [1.0 / epoch for epoch in range(1, 26)]


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"min_delta": 100.0, "patience": 1}, 2),
        ({"min_delta": 100.0, "patience": 2}, 3),
        ({"min_delta": 100.0, "patience": 1, "min_epochs": 5}, 5),
        ({"baseline": 0.0, "patience": 1}, 1),
        ({"patience": 1}, 25),
    ],
)
def test_stopping_epochs_match_luz(options: dict[str, Any], epochs: int) -> None:
    assert count_epochs_until_stop(EarlyStopping(**options), FALLING) == epochs


def test_improvement_resets_the_count() -> None:
    assert count_epochs_until_stop(EarlyStopping(patience=2), [3.0, 4.0, 2.0, 5.0, 5.0, 1.0]) == 5


def test_accuracy_monitor_must_rise() -> None:
    callback = EarlyStopping("valid_accuracy", patience=1)
    assert count_epochs_until_stop(callback, [0.1, 0.2, 0.3, 0.3, 0.9], "valid_accuracy") == 4


def test_non_finite_value_never_improves() -> None:
    assert count_epochs_until_stop(EarlyStopping(patience=2), [float("nan"), float("nan"), 1.0]) == 2


def test_count_survives_a_resume() -> None:
    values = [1.0, 2.0, 2.0, 2.0]
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    assert count_epochs_until_stop(first, values[:3]) == 3
    second.load_state_dict(first.state_dict())
    assert count_epochs_until_stop(second, [2.0]) == 1


def test_stop_reason_names_the_monitor() -> None:
    state = RunState(max_epochs=9, steps_per_epoch=1, epoch=1, metrics={"valid_loss": 0.5})
    callback = EarlyStopping(patience=1)
    callback.on_epoch_end(state)
    callback.on_epoch_end(state)
    assert state.stop_reason == "valid_loss has not been better than 0.5 for 1 epochs"


@pytest.mark.parametrize("baseline", [None, 5.0])
def test_restart_waits_for_the_full_patience_again(baseline: float | None) -> None:
    callback = EarlyStopping(patience=2, baseline=baseline)
    assert count_epochs_until_stop(callback, [1.0, 2.0, 2.0, 2.0]) == 3
    callback.restart()
    fresh = EarlyStopping(patience=2, baseline=baseline)
    assert callback.state_dict() == fresh.state_dict()


@pytest.mark.parametrize("baseline", [None, 5.0])
def test_an_extension_within_the_patience_trains_all_epochs(baseline: float | None) -> None:
    callback = EarlyStopping(patience=3, baseline=baseline)
    count_epochs_until_stop(callback, [1.0, 2.0, 2.0, 2.0])
    callback.restart()
    assert count_epochs_until_stop(callback, [9.0] * 3) == 3
    callback.restart()
    assert count_epochs_until_stop(callback, [9.0] * 9) == (4 if baseline is None else 3)
