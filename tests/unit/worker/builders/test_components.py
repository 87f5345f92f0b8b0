"""Callbacks with a role in the run."""

import pytest
from torch import nn

from core.datasets.packed import PackedDataset, Task
from tests.support.training import build_small_run


def test_keep_best_registers_the_weights_of_the_best_epoch(datasets: dict[Task, PackedDataset]) -> None:
    run = build_small_run(
        datasets["classification"], epochs=4, callbacks=[{"name": "keep_best", "monitor": "valid_loss"}]
    )
    run.build_loop().fit(run.state)
    assert run.keep_best is not None
    nn.init.zeros_(next(run.network.parameters()))  # the last weights must not be used
    best = run.load_best_weights()
    assert run.evaluate()["valid"]["loss"] == pytest.approx(best["valid_loss"])
