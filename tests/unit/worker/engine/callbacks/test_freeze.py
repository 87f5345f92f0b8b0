"""Tests of freezing parameters and batch norm statistics by epoch and name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.datasets.packed import PackedDataset
from tests.support.training import InterruptAt, build_spec, cpu_placement, hash_weights
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.optimizers import UnknownParameters
from worker.engine.run import Run
from worker.engine.state import RunState

pytestmark = pytest.mark.packed(num_samples=60)


class Watch(Callback):
    """Records the network's state at the end of every epoch."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.states = [self._now()]

    def _now(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self._run.network.state_dict().items()}

    def on_epoch_end(self, state: RunState) -> None:
        self.states.append(self._now())


def list_changed_parameters(packed: PackedDataset, **freeze: Any) -> list[set[str]]:
    """Return the names of the tensors that change in each epoch."""
    run = build_run(
        build_spec(epochs=3, callbacks=[{"name": "freeze", **freeze}, {"name": "ema"}]), packed, cpu_placement()
    )
    watch = Watch(run)
    run.build_loop([watch]).fit(run.state)
    pairs = zip(watch.states, watch.states[1:], strict=False)
    return [{name for name in old if not torch.equal(old[name], new[name])} for old, new in pairs]


def list_names_with_prefix(prefix: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(prefix)}


def test_frozen_parameters_stay_constant_until_the_last_frozen_epoch(packed: PackedDataset) -> None:
    first, second, third = list_changed_parameters(packed, match="features.*", until_epoch=2)
    assert not list_names_with_prefix("features.", first | second)
    assert list_names_with_prefix("head.", first)
    assert {name.rsplit(".", 1)[1] for name in list_names_with_prefix("features.", third)} >= {"weight", "running_mean"}


def test_freeze_can_start_later_and_update_batch_norm_statistics(packed: PackedDataset) -> None:
    first, second, _ = list_changed_parameters(packed, match="features.*", from_epoch=2, freeze_bn_stats=False)
    assert any(name.endswith("weight") for name in list_names_with_prefix("features.", first))
    kinds = {name.rsplit(".", 1)[1] for name in list_names_with_prefix("features.", second)}
    assert kinds == {"running_mean", "running_var", "num_batches_tracked"}


def test_resumed_run_freezes_the_same_parameters(packed: PackedDataset, tmp_path: Path) -> None:
    spec = build_spec(epochs=3, callbacks=[{"name": "freeze", "match": "features.*", "until_epoch": 2}])
    whole = build_run(spec, packed, cpu_placement())
    whole.build_loop().fit(whole.state)
    first = build_run(spec, packed, cpu_placement())
    first.build_loop([InterruptAt(4)]).fit(first.state)  # in the middle of the second epoch of 3 steps
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build_run(spec, packed, cpu_placement())
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.build_loop().fit(second.state)
    assert hash_weights(second.network, tmp_path) == hash_weights(whole.network, tmp_path)


def test_pattern_must_match_a_parameter(packed: PackedDataset) -> None:
    with pytest.raises(UnknownParameters, match="'stem"):
        build_run(build_spec(callbacks=[{"name": "freeze", "match": "stem.*"}]), packed, cpu_placement())


def test_nothing_changes_in_epochs_in_which_every_parameter_is_frozen(packed: PackedDataset) -> None:
    first, second, third = list_changed_parameters(packed, match="*", from_epoch=2, until_epoch=2)
    assert first == third != set()
    assert second == set()
