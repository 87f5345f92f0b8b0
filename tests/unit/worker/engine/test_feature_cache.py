"""Cached features: every run with a cache ends with the weights and metrics of the run without one, bit by bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.datasets.packed import PackedDataset
from models.network_split import CannotSplit
from tests.support.training import InterruptAt, add_weights, build_spec, cpu_placement, hash_weights
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callback import noop
from worker.engine.device import Precision
from worker.engine.feature_cache import FeatureCache, get_forward_size
from worker.engine.run import Run

pytestmark = pytest.mark.packed(num_samples=90, image_shape=[3, 16, 16])

CONVNET = {"name": "convnet", "channels": [8, 16], "batch_norm": True, "head": [16]}
HEAD_DROPOUT = {
    "name": "layers",
    "layers": [
        {"type": "conv2d", "out": 8, "kernel": 3},
        {"type": "batch_norm2d"},
        {"type": "relu"},
        {"type": "flatten"},
        {"type": "dropout", "p": 0.5},
        {"type": "linear", "out": 3},
    ],
}
FROZEN: dict[str, Any] = {"architecture": CONVNET, "freeze": ["features.*"], "epochs": 3}


def build(packed: PackedDataset, precision: Precision = "fp32", **changes: Any) -> Run:
    spec = build_spec(**{**FROZEN, "precision": precision} | changes)
    return build_run(spec, packed, cpu_placement(precision))


def fill(run: Run, folder: Path) -> Run:
    cache = FeatureCache(run)
    assert cache.check_features()
    folder.mkdir()
    return cache.fill(folder, noop)


def finish(run: Run, folder: Path) -> tuple[Any, ...]:
    """Train to the end. Return the hash of the registered weights, and all metrics."""
    run.build_loop().fit(run.state)
    metrics = run.load_best_weights()
    return hash_weights(run.network, folder), run.state.metrics, run.evaluate(epoch_metrics=metrics), run.evaluate()


CASES: dict[str, dict[str, Any]] = {
    "convnet": {},
    "bf16": {"precision": "bf16"},
    "an incomplete last batch": {"drop_last": False},
    "a batch size that divides nothing": {"batch_size": 13, "drop_last": False},
    "a remainder of one sample": {"batch_size": 20, "drop_last": False},
    "one batch": {"batch_size": 500},
    "accumulated batches": {"accumulate_batches": 3, "batch_size": 8, "drop_last": False},
    "weighted sampler": {"sampler": "weighted"},
    "sequential sampler": {"sampler": "sequential"},
    "averaged weights": {"callbacks": [{"name": "ema"}, {"name": "keep_best"}]},
    "lookahead": {"callbacks": [{"name": "lookahead", "k": 2}]},
    "clipping": {"callbacks": [{"name": "gradient_clip", "max_norm": 0.1}]},
    "a head that is frozen later": {"callbacks": [{"name": "freeze", "match": "head.0.*", "from_epoch": 2}]},
    "schedule": {"schedule": {"name": "one_cycle", "max_lr": 0.01}},
    "several losses per step": {"optimizer": {"name": "lbfgs"}},
    "normalization": {
        "dataset": {
            "name": "synthetic",
            "train_transforms": [{"name": "normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}],
        }
    },
    "dropout in the head": {"architecture": HEAD_DROPOUT, "freeze": ["0.*", "1.*"]},
    "a test split": {"dataset": {"name": "synthetic", "valid": 0.2, "test": 0.2}},
    "resnet18": {"architecture": {"name": "resnet18"}, "freeze": ["*", "!fc.*"]},
    "a map of features": {"architecture": {"name": "resnet18"}, "freeze": ["*", "!fc.*", "!layer4.1.*"]},
    "all parameters": {"freeze": ["*"]},
}


@pytest.mark.parametrize("case", CASES)
def test_results_are_equal_to_those_without_a_cache(case: str, packed: PackedDataset, tmp_path: Path) -> None:
    expected = finish(build(packed, **CASES[case]), tmp_path)
    cached = fill(build(packed, **CASES[case]), tmp_path / "features")
    body_calls = count_body_calls(cached)
    assert finish(cached, tmp_path) == expected
    has_odd_batches = case in {"an incomplete last batch", "a batch size that divides nothing", "accumulated batches"}
    if case not in {"a test split", "a remainder of one sample"}:
        assert (body_calls[0] > 0) is has_odd_batches


def count_body_calls(run: Run) -> list[int]:
    """Return a counter of the calls of the first layer with parameters in the training and in all evaluations."""
    count = [0]

    def increment(*_: object) -> None:
        count[0] += 1

    layer = next(module for module in run.network.modules() if list(module.parameters(recurse=False)))
    layer.register_forward_hook(increment)
    return count


def test_weights_of_samples_are_kept(packed: PackedDataset, tmp_path: Path) -> None:
    weighted = add_weights(packed)
    expected = finish(build(weighted), tmp_path)
    assert finish(fill(build(weighted), tmp_path / "features"), tmp_path) == expected
    assert expected != finish(build(weighted, seed=8), tmp_path)


@pytest.mark.parametrize("step", [3, 4, 9])
def test_a_resumed_run_is_equal_to_an_uninterrupted_one(step: int, packed: PackedDataset, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"callbacks": [{"name": "ema"}, {"name": "keep_best"}], "schedule": {"name": "cosine"}}
    expected = finish(build(packed, **changes), tmp_path)
    first = fill(build(packed, **changes), tmp_path / "first")
    first.build_loop([InterruptAt(step)]).fit(first.state)
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build(packed, **changes, seed=7)
    for parameter in second.network.parameters():
        torch.nn.init.zeros_(parameter)  # all weights come from the snapshot
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    assert finish(fill(second, tmp_path / "second"), tmp_path) == expected


def test_snapshots_of_runs_with_and_without_a_cache_are_equal(packed: PackedDataset, tmp_path: Path) -> None:
    digests = []
    for name in ("cached", "uncached"):
        run = build(packed)
        run = fill(run, tmp_path / "features") if name == "cached" else run
        run.build_loop([InterruptAt(4)]).fit(run.state)
        parts = {key: part for key, part in run.stateful_parts().items() if key != "state"}  # it has a duration
        digests.append(snapshot.write_snapshot(tmp_path / name, run.network, parts, {}))
    assert digests[0] == digests[1]


def test_features_that_depend_on_the_position_are_detected(
    packed: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(build(packed))
    assert cache.check_features()
    original = cache.forward.compute_features

    def compute_with_position(images: torch.Tensor) -> torch.Tensor:
        features = original(images)
        features[0] = torch.nextafter(features[0], features[0] + 1)
        return features

    monkeypatch.setattr(cache.forward, "compute_features", compute_with_position)
    assert not cache.check_features()


def test_layers_that_draw_random_numbers_are_detected(packed: PackedDataset) -> None:
    run = build(packed)

    def draw(*_: object) -> None:
        torch.rand(1)

    next(run.network.children()).register_forward_hook(draw)
    next(iter(run.network.features)).register_forward_hook(draw)  # type: ignore[arg-type]
    with pytest.raises(CannotSplit, match="draw random numbers"):
        FeatureCache(run)


def test_an_exception_of_the_observer_ends_the_computation(packed: PackedDataset, tmp_path: Path) -> None:
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        FeatureCache(build(packed)).fill(tmp_path, stop)
    assert len(calls) == 2


def test_the_features_are_described(packed: PackedDataset) -> None:
    num_samples = sum(packed.meta.splits.values())
    description = FeatureCache(build(packed)).describe()
    assert description == {"shape": [16], "dtype": "float32", "bytes": 64 * num_samples}


@pytest.mark.parametrize(
    ("num_samples", "micro_size", "size"), [(32, None, 32), (33, None, 33), (32, 8, 8), (30, 8, None), (7, 8, 7)]
)
def test_sizes_of_forward_passes(num_samples: int, micro_size: int | None, size: int | None) -> None:
    assert get_forward_size(num_samples, micro_size) == size


def test_the_index_of_a_loader_is_not_changed(packed: PackedDataset, tmp_path: Path) -> None:
    run = build(packed)
    cached = fill(run, tmp_path / "features")
    assert np.array_equal(cached.train_batches.sample_index, run.train_batches.sample_index)
    for plain, other in zip(run.train_batches.iter_epoch(2, 1), cached.train_batches.iter_epoch(2, 1), strict=True):
        assert torch.equal(plain.targets, other.targets)
        assert other.images.dtype == torch.float32
