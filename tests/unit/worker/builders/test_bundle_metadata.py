"""The description in a trained model's bundle."""

import pytest

from core.datasets.packed import PackedDataset, Task
from models import bundle
from tests.support.training import build_spec
from worker.builders.bundle_metadata import build_description

DATASET = {"name": "synthetic", "version": 3, "content_hash": "0"}


def test_description_names_task_classes_and_lineage(datasets: dict[Task, PackedDataset]) -> None:
    spec, meta = build_spec(), datasets["classification"].meta
    description = build_description(spec, meta, "job", DATASET)
    assert (description.task, description.classes, description.gives) == (
        "classification",
        list(meta.classes),
        "scores",
    )
    assert description.lineage == {"job_id": "job", "dataset": DATASET, "spec": spec.model_dump(mode="json")}
    assert bundle.BundleDescription.model_validate_json(description.model_dump_json()) == description


@pytest.mark.parametrize(("loss", "gives"), [("bce", "probabilities"), ("bce_with_logits", "scores")])
def test_description_says_what_the_network_returns(datasets: dict[Task, PackedDataset], loss: str, gives: str) -> None:
    description = build_description(build_spec(loss={"name": loss}), datasets["multilabel"].meta, "job", DATASET)
    assert description.gives == gives
