"""Tests of the plain loop that the engine is compared with."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.plain_training import Job, check_recipe, train_plain
from candela.specs import read_spec
from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from tests.support.training import build_spec, cpu_placement

EXAMPLES = Path(__file__).parents[3] / "examples"
ONE_CYCLE = {"name": "one_cycle", "max_lr": 0.01}
FLIP = {"name": "vertical_flip"}


@pytest.mark.parametrize("name", ["cifar10_94", "fashion_mnist_94", "digits_98"])
def test_example_is_implemented(name: str) -> None:
    check_recipe(JobSpec.model_validate(read_spec(EXAMPLES / f"{name}.yaml")))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"callbacks": [{"name": "mixup"}]}, "callback mixup"),
        ({"callbacks": [{"name": "gradient_clip", "max_norm": 1}]}, "callback gradient_clip"),
        ({"loss": {"name": "focal"}}, "loss focal"),
        ({"loss": {"name": "cross_entropy", "class_weights": "balanced"}}, "loss cross_entropy with class_weights"),
        ({"accumulate_batches": 2}, "accumulate_batches"),
        ({"sampler": "weighted"}, "sampler"),
        ({"drop_last": False}, "drop_last"),
        ({"schedule": None}, "schedule null"),
        ({"dataset": {"name": "synthetic", "train_transforms": [FLIP]}}, "transform vertical_flip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_part_that_is_not_implemented_is_named(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(SystemExit, match=part):
        check_recipe(build_spec(**{"schedule": ONE_CYCLE} | changes))


def test_recipe_that_is_not_implemented_is_not_trained(packed: PackedDataset) -> None:
    spec = build_spec(schedule=ONE_CYCLE, callbacks=[{"name": "mixup"}])
    with pytest.raises(SystemExit, match="callback mixup"):
        train_plain(Job(spec, packed, cpu_placement()), lambda *_: None)


def test_plain_loop_trains_with_affine_maps(packed: PackedDataset) -> None:
    dataset = {"name": "synthetic", "train_transforms": [{"name": "affine", "degrees": 10}]}
    spec, accuracies = build_spec(schedule=ONE_CYCLE, epochs=3, dataset=dataset), list[float]()
    train_plain(Job(spec, packed, cpu_placement()), lambda _, accuracy: accuracies.append(accuracy))
    assert len(accuracies) == 3
    assert accuracies[-1] > 0.5
