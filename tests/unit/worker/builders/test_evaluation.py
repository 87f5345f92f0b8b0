"""Evaluations of a registered model on a dataset."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.datasets.packed import PackedDataset, Task
from core.errors import InvalidSpec
from core.spec import EvaluateSpec
from models import bundle
from tests.support.training import build_spec, cpu_placement, pack
from worker.builders import build_run
from worker.builders.bundle_metadata import build_description
from worker.builders.evaluation import build_evaluation


def build_evaluate_spec(**changes: Any) -> EvaluateSpec:
    body = {"kind": "evaluate", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "split": "valid"}
    return EvaluateSpec.model_validate(body | changes)


@pytest.fixture
def model_dir(datasets: dict[Task, PackedDataset], tmp_path: Path) -> Path:
    """The bundle of an untrained classifier."""
    packed, spec, folder = datasets["classification"], build_spec(), tmp_path / "bundle"
    folder.mkdir()
    network = build_run(spec, packed, cpu_placement()).network
    bundle.save_bundle(folder, network, build_description(spec, packed.meta, "job", {"name": "synthetic"}))
    return folder


def test_evaluation_has_the_samples_of_the_split(datasets: dict[Task, PackedDataset], model_dir: Path) -> None:
    packed = datasets["classification"]
    setup = build_evaluation(build_evaluate_spec(batch_size=16), (), packed, model_dir, cpu_placement())
    batches = list(setup.batches.iter_epoch(0))
    assert sum(len(batch.targets) for batch in batches) == len(setup.names) == 30
    assert set(setup.names) <= set(packed.read_split("train").names)
    scores = setup.predict(batches[0].images)
    assert (scores.shape, scores.dtype) == ((16, 3), torch.float32)
    assert setup.truths == packed.meta.classes


def test_dataset_that_does_not_fit_the_model_is_rejected(
    datasets: dict[Task, PackedDataset], model_dir: Path, tmp_path: Path
) -> None:
    larger = pack(tmp_path / "larger", image_shape=[1, 10, 10])
    with pytest.raises(InvalidSpec, match=r"requires samples of shape \(1, 8, 8\)"):
        build_evaluation(build_evaluate_spec(), (), larger, model_dir, cpu_placement())
    spec = build_evaluate_spec(metrics=["mae"])
    with pytest.raises(InvalidSpec, match=r"task is classification \(3 outputs\); the dataset's task is regression"):
        build_evaluation(spec, spec.metrics or (), datasets["regression"], model_dir, cpu_placement())


def test_missing_split_is_rejected(datasets: dict[Task, PackedDataset], model_dir: Path) -> None:
    with pytest.raises(InvalidSpec, match="does not have the split 'test'"):
        build_evaluation(build_evaluate_spec(split="test"), (), datasets["classification"], model_dir, cpu_placement())
