"""Runs on tables and time series: they learn, and metrics have the units of the table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from tests.support.training import InterruptAt, cpu_placement, hash_weights
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.run import Run
from worker.trainer.error_classification import classify_error

PENGUINS: dict[str, Any] = {
    "dataset": {"name": "palmerpenguins", "valid": 0.2},
    "architecture": {"name": "tabular", "hidden": [16]},
    "epochs": 2,
    "seed": 3,
}
LINEAR = {"type": "linear", "in": 9, "out": 16}  # 4 numbers, 3 islands, 2 sexes
OTHERS: list[dict[str, Any]] = [
    {"name": "mlp", "hidden": [16]},
    {"name": "layers", "layers": [LINEAR, {"type": "relu"}, {"type": "linear", "out": 3}]},
]
HOURS = {"name": "timeseries", "num_hours": 600, "window": 24, "horizon": 2, "valid_share": 0.25}
DEMAND: dict[str, Any] = {
    "dataset": HOURS,
    "architecture": {"name": "layers", "layers": [{"type": "gru", "hidden": 16}, {"type": "linear", "out": 2}]},
    "optimizer": {"name": "adam", "lr": 0.02},
    "metrics": ["mae"],
    "epochs": 8,
    "batch_size": 64,
}
LAYERS = [{"type": "lstm", "hidden": 6, "layers": 2, "dropout": 0.3}, {"type": "gru", "hidden": 6}]


def build_table_run(folder: Path, **changes: Any) -> Run:
    spec = JobSpec.model_validate(PENGUINS | changes)
    pack_builtin(spec.dataset.name, spec.dataset.options, folder, folder / "packed")
    return build_run(spec, PackedDataset.open(folder / "packed"), cpu_placement())


def test_penguins_are_classified(tmp_path: Path) -> None:
    example = yaml.safe_load(Path("examples/penguins.yaml").read_text())
    run = build_table_run(
        tmp_path, epochs=15, **{name: example[name] for name in ("dataset", "architecture", "optimizer")}
    )
    run.build_loop().fit(run.state)
    assert run.state.metrics["valid_accuracy"] >= 0.97


@pytest.mark.parametrize("loss", ["mse", "l1", "smooth_l1", "huber"])
def test_regression_learns_scaled_targets_and_reports_original_units(loss: str, tmp_path: Path) -> None:
    run = build_table_run(
        tmp_path,
        dataset={"name": "palmerpenguins", "target": "body_mass_g"},
        loss={"name": loss},
        metrics=["mae"],
        optimizer={"name": "adam", "lr": 0.01},
        epochs=5,
    )
    run.build_loop().fit(run.state)
    assert run.valid_batches is not None
    batch = next(run.valid_batches.iter_epoch(1))
    each = run.forward._loss._per_sample_loss(torch.zeros(len(batch.targets), 1), batch.targets)
    assert each.shape == (len(batch.targets),)
    metrics = run.state.metrics
    assert metrics["valid_loss"] < 1.0  # of targets with a deviation of 1
    assert 100 < metrics["valid_mae"] < 600  # grams
    evaluated = run.evaluate()["valid"]
    assert evaluated["mae"] == pytest.approx(metrics["valid_mae"], rel=1e-5)


def test_poisson_loss_does_not_scale_targets(tmp_path: Path) -> None:
    run = build_table_run(
        tmp_path, dataset={"name": "palmerpenguins", "target": "body_mass_g"}, loss={"name": "poisson_nll"}, epochs=1
    )
    assert run.valid_batches is not None
    batch = next(run.valid_batches.iter_epoch(1))
    zeros = torch.zeros(len(batch.targets), 1)
    assert torch.isclose(run.forward.compute_loss(zeros, batch.targets), torch.tensor(1.0))  # exp(0) - 0 * target


@pytest.mark.parametrize("architecture", OTHERS)
def test_other_networks_receive_one_hot_categories(architecture: dict[str, Any], tmp_path: Path) -> None:
    run = build_table_run(
        tmp_path, architecture=architecture, metrics=["accuracy"], optimizer={"name": "adam", "lr": 0.03}
    )
    run.build_loop().fit(run.state)
    assert run.state.metrics["valid_accuracy"] > 0.8


def test_rows_with_missing_values_train(tmp_path: Path) -> None:
    run = build_table_run(tmp_path, dataset={"name": "palmerpenguins", "missing": "impute"}, epochs=1)
    unknown = run.network.embeddings[1].weight[0].clone()  # type: ignore[index,union-attr]
    run.build_loop().fit(run.state)
    assert all(parameter.isfinite().all() for parameter in run.network.parameters())
    assert not torch.equal(run.network.embeddings[1].weight[0], unknown)  # type: ignore[index,union-attr]


def test_time_series_forecast_beats_the_last_value(tmp_path: Path) -> None:
    run = build_table_run(tmp_path, **DEMAND)
    run.build_loop().fit(run.state)
    valid = PackedDataset.open(tmp_path / "packed").read_split("valid")
    naive = np.abs(valid.targets - valid.images[:, -1, :1]).mean()
    assert run.state.metrics["valid_mae"] < 0.9 * naive


@pytest.mark.parametrize("layer", LAYERS)
def test_interrupted_recurrent_network_resumes_to_the_same_weights(layer: dict[str, Any], tmp_path: Path) -> None:
    layers = {"name": "layers", "layers": [layer, {"type": "linear", "out": 2}]}
    changes: dict[str, Any] = DEMAND | {"architecture": layers, "epochs": 2}
    uninterrupted = build_table_run(tmp_path, **changes)
    uninterrupted.build_loop().fit(uninterrupted.state)
    spec = JobSpec.model_validate(PENGUINS | changes)
    interrupted, resumed = (build_run(spec, PackedDataset.open(tmp_path / "packed"), cpu_placement()) for _ in range(2))
    interrupted.build_loop((InterruptAt(8),)).fit(interrupted.state)
    snapshot.write_snapshot(tmp_path / "snapshot", interrupted.network, interrupted.stateful_parts(), {"epochs": 2})
    snapshot.restore_snapshot(
        tmp_path / "snapshot", resumed.network, resumed.stateful_parts(), resumed.placement.device
    )
    resumed.build_loop().fit(resumed.state)
    assert hash_weights(resumed.network, tmp_path) == hash_weights(uninterrupted.network, tmp_path)


def test_token_outside_the_embedding_is_an_invalid_spec(tmp_path: Path) -> None:
    layers = [{"type": "embedding", "num": 3, "dim": 2}, {"type": "flatten"}, {"type": "linear", "out": 2}]
    run = build_table_run(tmp_path, **DEMAND | {"architecture": {"name": "layers", "layers": layers}})
    with pytest.raises(IndexError) as raised:
        run.build_loop().fit(run.state)
    failed = classify_error(raised.value, None)
    assert (failed.code, "num - 1" in failed.hint) == ("invalid_spec", True)
