"""Tests of keeping the weights of the best epoch."""

import torch
from torch import nn

from tests.support.training import end_epoch
from worker.engine.callbacks import KeepBest


def test_keep_best_copies_the_best_epoch() -> None:
    network = nn.Linear(1, 1)
    callback = KeepBest(network)
    for epoch, loss in enumerate([3.0, 1.0, 2.0], start=1):
        nn.init.constant_(network.weight, epoch)
        state = end_epoch(epoch, loss)
        callback.on_epoch_end(state)
        assert ("best" in state.tags) == (epoch < 3)
    assert torch.equal(callback.weights["weight"], torch.full((1, 1), 2.0))
    assert (callback.epoch, callback.metrics) == (2, {"valid_loss": 1.0})


def test_best_value_survives_a_resume() -> None:
    network = nn.Linear(1, 1)
    first, second = KeepBest(network), KeepBest(network)
    first.on_epoch_end(end_epoch(1, 1.0))
    second.load_state_dict(first.state_dict())
    second.on_epoch_end(end_epoch(2, 1.5))
    assert second.metrics == {"valid_loss": 1.0}


def test_epoch_is_unknown_after_restoring_a_snapshot_of_an_earlier_version() -> None:
    network = nn.Linear(1, 1)
    first, second = KeepBest(network), KeepBest(network)
    first.on_epoch_end(end_epoch(1, 1.0))
    saved = first.state_dict()
    second.load_state_dict(saved)
    assert second.epoch == 1
    del saved["epoch"]
    second.load_state_dict(saved)
    assert second.epoch is None
