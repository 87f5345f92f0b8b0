"""Freezing by epoch and name: weights that stay equal to the bit, statistics that do or do not, and the way back."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.datasets.packed import Packed
from tests.support.training import InterruptAt, cpu, job, pack, weights_hash
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.callbacks.freeze import NoTrainableParameters
from worker.engine.optimizers import UnknownParameters
from worker.engine.run import Run
from worker.engine.state import RunState


class Watch(Callback):
    """Remembers the network's state at every epoch's end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.states = [self._now()]

    def _now(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self._run.network.state_dict().items()}

    def on_epoch_end(self, state: RunState) -> None:
        self.states.append(self._now())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack(tmp_path_factory.mktemp("packed") / "it", num_samples=60)


def moved(packed: Packed, **freeze: Any) -> list[set[str]]:
    """Names of what moved in each epoch."""
    run = build_run(job(epochs=3, callbacks=[{"name": "freeze", **freeze}, {"name": "ema"}]), packed, cpu())
    watch = Watch(run)
    run.loop([watch]).fit(run.state)
    pairs = zip(watch.states, watch.states[1:], strict=False)
    return [{name for name in old if not torch.equal(old[name], new[name])} for old, new in pairs]


def below(prefix: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(prefix)}


def test_what_is_frozen_stays_and_moves_again_afterwards(packed: Packed) -> None:
    first, second, third = moved(packed, match="features.*", until_epoch=2)
    assert not below("features.", first | second)
    assert below("head.", first)
    assert {name.rsplit(".", 1)[1] for name in below("features.", third)} >= {"weight", "running_mean"}


def test_freezing_may_begin_later_and_leave_the_statistics_free(packed: Packed) -> None:
    first, second, _ = moved(packed, match="features.*", from_epoch=2, freeze_bn_stats=False)
    assert any(name.endswith("weight") for name in below("features.", first))
    kinds = {name.rsplit(".", 1)[1] for name in below("features.", second)}
    assert kinds == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_resumed_run_is_as_frozen_as_it_was(packed: Packed, tmp_path: Path) -> None:
    spec = job(epochs=3, callbacks=[{"name": "freeze", "match": "features.*", "until_epoch": 2}])
    whole = build_run(spec, packed, cpu())
    whole.loop().fit(whole.state)
    first = build_run(spec, packed, cpu())
    first.loop([InterruptAt(4)]).fit(first.state)  # of 3 steps an epoch: in the middle of the second
    snapshot.write(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build_run(spec, packed, cpu())
    snapshot.restore(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.loop().fit(second.state)
    assert weights_hash(second.network, tmp_path) == weights_hash(whole.network, tmp_path)


def test_a_pattern_must_match_and_leave_something(packed: Packed) -> None:
    with pytest.raises(UnknownParameters, match="'stem"):
        build_run(job(callbacks=[{"name": "freeze", "match": "stem.*"}]), packed, cpu())
    run = build_run(job(callbacks=[{"name": "freeze", "match": "*"}]), packed, cpu())
    with pytest.raises(NoTrainableParameters):
        run.loop().fit(run.state)
