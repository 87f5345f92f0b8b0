"""The parts of a training spec with which the outputs of frozen layers differ from epoch to epoch."""

from typing import Any

import pytest

from core.spec import JobSpec
from core.spec.feature_cache import find_cache_obstacles


def find(**changes: Any) -> list[str]:
    document = {"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}, "freeze": ["features.*"]}
    return find_cache_obstacles(JobSpec.model_validate(document | changes))


NORMALIZE = {"name": "normalize", "mean": [0.5], "std": [0.5]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dataset": {"name": "digits", "train_transforms": [NORMALIZE]}},
        {"callbacks": [{"name": "ema"}, {"name": "keep_best"}, {"name": "early_stopping"}]},
        {"loss": {"name": "cross_entropy"}},
    ],
)
def test_a_training_with_constant_inputs_has_no_obstacles(changes: dict[str, Any]) -> None:
    assert find(**changes) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"freeze": []}, "no parameters are frozen"),
        ({"dataset": {"name": "digits", "train_transforms": [NORMALIZE, {"name": "rand_augment"}]}}, "'rand_augment'"),
        ({"callbacks": [{"name": "mixup"}]}, "'mixup' mixes"),
        ({"callbacks": [{"name": "swa"}]}, "'swa' runs the whole network"),
        ({"compile": True}, "'compile'"),
        ({"resources": {"devices": 2}}, "uses 2 devices"),
        ({"loss": {"name": "bce"}}, "'bce'"),
    ],
)
def test_an_obstacle_names_its_reason(changes: dict[str, Any], reason: str) -> None:
    [obstacle] = find(**changes)
    assert reason in obstacle
