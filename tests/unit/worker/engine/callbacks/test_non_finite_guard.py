"""The guard tells exactly which step went wrong, and lets nothing non-finite be stored."""

import pytest
import torch
from torch import nn

from worker.engine.callbacks import Diverged, NonFiniteGuard
from worker.engine.state import RunState


def feed(guard: NonFiniteGuard, state: RunState, losses: list[float]) -> None:
    for loss in losses:
        state.step, state.batch, state.loss = state.step + 1, state.batch + 1, torch.tensor(loss)
        state.lr = state.step / 100
        guard.on_train_batch_end(state)


@pytest.fixture
def state() -> RunState:
    return RunState(max_epochs=1, steps_per_epoch=1000, epoch=3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_it_looks_every_few_steps_and_names_the_one_that_went_wrong(state: RunState, bad: float) -> None:
    guard = NonFiniteGuard(nn.Linear(1, 1), every_steps=4)
    feed(guard, state, [1.0, 1.0, 1.0, 1.0, 1.0, bad, 1.0])
    with pytest.raises(Diverged, match="loss is not finite at epoch 3, step 6") as caught:
        feed(guard, state, [1.0])
    assert caught.value.facts == {"epoch": 3, "step": 6, "learning_rate": 0.06}


def test_the_last_step_of_an_epoch_is_looked_at(state: RunState) -> None:
    state.steps_per_epoch = 2
    with pytest.raises(Diverged):
        feed(NonFiniteGuard(nn.Linear(1, 1), every_steps=100), state, [1.0, float("nan")])


def test_a_check_looks_at_losses_and_weights(state: RunState) -> None:
    network = nn.BatchNorm1d(2)
    guard = NonFiniteGuard(network, every_steps=100)
    feed(guard, state, [1.0])
    guard.check(state)
    assert network.running_mean is not None
    network.running_mean[1] = float("inf")
    with pytest.raises(Diverged, match="weights are not finite"):
        guard.check(state)
    network.running_mean[1] = 0.0
    feed(guard, state, [float("nan")])
    with pytest.raises(Diverged, match="loss is not finite at epoch 3, step 2"):
        guard.check(state)
