"""Every kind that a spec may name is built by the trainer, and what the door lets in for a task, the trainer takes."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from app.services.catalog import SPEC_UNIONS, list_union_members
from app.services.validation.defaults import TASK_DEFAULTS
from app.services.validation.objective import check_loss, check_metrics
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.datasets.definition import DatasetInfo
from core.datasets.packed import PackedMeta, Task
from core.spec import JobSpec
from tests.support.validation import validation_context
from worker import builders

REQUIRED: dict[str, dict[str, Any]] = {
    "several": {
        "parts": [
            {"match": "*weight", "optimizer": {"name": "sgd", "momentum": 0.9}},
            {"match": "*", "optimizer": {"name": "adam"}},
        ]
    },
    "step": {"step_size": 1},
    "multi_step": {"milestones": [1, 2]},
    "cosine_warm_restarts": {"t_0": 1},
    "cyclic": {"base_lr": 0.001, "max_lr": 0.01},
    "one_cycle": {"max_lr": 0.01},
    "lambda": {"factors": [1.0, 0.5]},
    "multiplicative": {"factors": [0.5]},
    "sequential": {"schedules": [{"name": "constant"}, {"name": "cosine"}], "milestones": [1]},
    "time_limit": {"seconds": 1.0},
    "freeze": {"match": "weight"},
    "normalize": {"mean": [0.5], "std": [0.5]},
    "random_apply": {"transforms": [{"name": "horizontal_flip"}]},
    "random_choice": {"transforms": [{"name": "horizontal_flip"}, {"name": "rotation"}]},
    "random_order": {"transforms": [{"name": "random_crop"}, {"name": "rotation"}]},
}
KINDS = [
    pytest.param(part, kind, id=f"{part}-{kind.model_fields['name'].default}")
    for part, union in SPEC_UNIONS.items()
    for kind in list_union_members(union)
]
TASKS: tuple[Task, ...] = ("classification", "binary", "multilabel", "regression")


def named(part: str, name: str) -> Any:
    return TypeAdapter(SPEC_UNIONS[part]).validate_python({"name": name, **REQUIRED.get(name, {})})


def meta_of(task: Task) -> PackedMeta:
    return PackedMeta(
        task=task,
        classes=() if task == "regression" else tuple("abcdef"[: 2 if task == "binary" else 6]),
        num_outputs=1 if task in {"binary", "regression"} else 6,
        image_shape=(1, 8, 8),
        splits={"train": 8},
        mean=(0.5,),
        std=(0.5,),
        resize="stretch",
        content_hash="",
    )


def build(part: str, spec: Any, meta: PackedMeta) -> object:
    network, device = nn.Linear(2, 2), torch.device("cpu")
    match part:
        case "optimizers":
            return builders.make_optimizer(spec, network, device)
        case "schedules":
            return builders.make_schedule(spec, torch.optim.SGD(network.parameters(), lr=0.1), 3, 10)
        case "losses":
            shape = (8,) if meta.task == "classification" else (8, meta.num_outputs)
            return builders.make_loss(spec, meta, np.zeros(shape, np.int64))
        case "metrics":
            return builders.make_metric(spec, meta)
        case "transforms":
            return builders.make_transform(spec) or spec.name == "normalize"
        case "callbacks":
            return builders.make_callback(spec, network)
        case _:
            raise AssertionError(part)


def task_of(part: str, name: str) -> Task:
    """A task that the kind suits."""
    suited = (
        task
        for task in TASKS
        if (part == "losses" and name in TASK_DEFAULTS[task].losses)
        or (part == "metrics" and name in TASK_DEFAULTS[task].all_metrics)
    )
    return cast("Task", next(suited, "classification"))


@pytest.mark.parametrize(("part", "kind"), KINDS)
def test_every_kind_is_built(part: str, kind: type[Any]) -> None:
    name = kind.model_fields["name"].default
    assert build(part, named(part, name), meta_of(task_of(part, name)))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("part", ["losses", "metrics"])
def test_what_the_door_lets_in_for_a_task_is_built(part: str, task: Task) -> None:
    meta = meta_of(task)
    facts = DatasetInfo(task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits)
    let_in = []
    for kind in list_union_members(SPEC_UNIONS[part]):
        spec, report = named(part, kind.model_fields["name"].default), ValidationReport()
        words: dict[str, Any] = {"dataset": {"name": "d"}, "architecture": {"name": "a"}}
        job = JobSpec.model_validate(
            words | {"loss": spec.model_dump()} if part == "losses" else words | {"metrics": [spec.model_dump()]}
        )
        context = TrainingContext(validation_context(job, facts), job)
        (check_loss if part == "losses" else check_metrics)(context, report)
        if not report.errors:
            let_in.append(spec.name)
            assert build(part, spec, meta)
    assert let_in


@pytest.mark.parametrize("task", TASKS)
def test_the_door_and_the_trainer_agree_on_what_is_usual(task: Task) -> None:
    loss, metric = builders.TASK_DEFAULTS[task]
    assert TASK_DEFAULTS[task].loss == loss
    assert TASK_DEFAULTS[task].metrics == (metric,)
