"""Tests that the guard names the failing step and that snapshots hold only finite values."""

import pytest
import torch
from torch import nn

from worker.engine.callbacks import NonFiniteGuard, TrainingDiverged
from worker.engine.state import RunState


def run_losses(guard: NonFiniteGuard, state: RunState, losses: list[float]) -> None:
    for loss in losses:
        state.step, state.batch, state.loss = state.step + 1, state.batch + 1, torch.tensor(loss)
        state.lr = state.step / 100
        guard.on_train_batch_end(state)


@pytest.fixture
def state() -> RunState:
    return RunState(max_epochs=1, steps_per_epoch=1000, epoch=3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_guard_checks_periodically_and_reports_the_failing_step(state: RunState, bad: float) -> None:
    guard = NonFiniteGuard(nn.Linear(1, 1), every_steps=4)
    run_losses(guard, state, [1.0, 1.0, 1.0, 1.0, 1.0, bad, 1.0])
    with pytest.raises(TrainingDiverged, match="loss is not finite at epoch 3, step 6") as caught:
        run_losses(guard, state, [1.0])
    assert caught.value.extra == {"epoch": 3, "step": 6, "learning_rate": 0.06}


def test_guard_checks_the_last_step_in_an_epoch(state: RunState) -> None:
    state.steps_per_epoch = 2
    with pytest.raises(TrainingDiverged):
        run_losses(NonFiniteGuard(nn.Linear(1, 1), every_steps=100), state, [1.0, float("nan")])


def test_check_finite_covers_losses_and_weights(state: RunState) -> None:
    network = nn.BatchNorm1d(2)
    guard = NonFiniteGuard(network, every_steps=100)
    run_losses(guard, state, [1.0])
    guard.check_finite(state)
    assert network.running_mean is not None
    network.running_mean[1] = float("inf")
    with pytest.raises(TrainingDiverged, match="weights are not finite"):
        guard.check_finite(state)
    network.running_mean[1] = 0.0
    run_losses(guard, state, [float("nan")])
    with pytest.raises(TrainingDiverged, match="loss is not finite at epoch 3, step 2"):
        guard.check_finite(state)
