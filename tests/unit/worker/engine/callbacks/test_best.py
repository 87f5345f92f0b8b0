"""Which epoch is the best, what is kept of it, and what is tagged."""

import torch
from torch import nn

from worker.engine.callbacks import KeepBest, ModelCheckpoint
from worker.engine.callbacks.best_metric import BestMetric
from worker.engine.state import RunState


def end_epoch(epoch: int, loss: float) -> RunState:
    return RunState(max_epochs=9, steps_per_epoch=1, epoch=epoch, metrics={"valid_loss": loss})


def test_better_means_by_more_than_min_delta() -> None:
    record = BestMetric("valid_loss", min_delta=0.1)
    assert [record.update(value) for value in (1.0, 0.95, 0.9, 0.7)] == [True, False, False, True]


def test_mode_zero_prefers_values_closer_to_zero() -> None:
    record = BestMetric("valid_bias", "zero", min_delta=0.1, baseline=-2.0)
    assert [record.update(value) for value in (-2.5, 1.0, -0.95, -0.5, 0.0)] == [False, True, False, True, True]


def test_keep_best_copies_the_best_epoch() -> None:
    network = nn.Linear(1, 1)
    callback = KeepBest(network)
    for epoch, loss in enumerate([3.0, 1.0, 2.0], start=1):
        nn.init.constant_(network.weight, epoch)
        state = end_epoch(epoch, loss)
        callback.on_epoch_end(state)
        assert ("best" in state.tags) == (epoch < 3)
    assert torch.equal(callback.weights["weight"], torch.full((1, 1), 2.0))
    assert callback.metrics == {"valid_loss": 1.0}


def test_best_value_survives_a_resume() -> None:
    network = nn.Linear(1, 1)
    first, second = KeepBest(network), KeepBest(network)
    first.on_epoch_end(end_epoch(1, 1.0))
    second.load_state_dict(first.state_dict())
    second.on_epoch_end(end_epoch(2, 1.5))
    assert second.metrics == {"valid_loss": 1.0}


def test_model_checkpoint_keeps_every_nth_epoch() -> None:
    callback = ModelCheckpoint(every_epochs=2)
    tags = []
    for epoch in (1, 2, 3, 4):
        state = end_epoch(epoch, 1.0)
        callback.on_epoch_end(state)
        tags.append(sorted(state.tags))
    assert tags == [["best"], ["kept"], [], ["kept"]]


def test_model_checkpoint_saves_only_improvements_with_save_best_only() -> None:
    callback = ModelCheckpoint(save_best_only=True)
    tags = []
    for epoch, loss in enumerate([2.0, 3.0, 1.0], start=1):
        state = end_epoch(epoch, loss)
        callback.on_epoch_end(state)
        tags.append(sorted(state.tags))
    assert tags == [["best", "kept"], [], ["best", "kept"]]


def list_retained(callback: ModelCheckpoint, losses: list[float], first: int = 1) -> list[list[int]]:
    told = []
    for epoch, loss in enumerate(losses, start=first):
        state = end_epoch(epoch, loss)
        callback.on_epoch_end(state)
        told.append(sorted(state.retained_epochs))
    return told


def test_model_checkpoint_drops_the_oldest_epochs() -> None:
    assert list_retained(ModelCheckpoint(every_epochs=2, keep=2), [1.0] * 6)[1::2] == [[2], [2, 4], [4, 6]]
    assert list_retained(ModelCheckpoint(save_best_only=True, keep=1), [3.0, 4.0, 2.0])[-1] == [3]
    assert list_retained(ModelCheckpoint(), [1.0] * 3)[-1] == [1, 2, 3]


def test_retained_epochs_survive_a_resume() -> None:
    first, second = ModelCheckpoint(keep=2), ModelCheckpoint(keep=2)
    list_retained(first, [1.0, 1.0])
    second.load_state_dict(first.state_dict())
    assert list_retained(second, [1.0], first=3) == [[2, 3]]
