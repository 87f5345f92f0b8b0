"""The trainer builds every member of the spec unions, and whatever validation accepts for a task."""

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
from tests.support.spec_examples import build_member
from tests.support.validation import validation_context
from worker import builders

TASKS: tuple[Task, ...] = ("classification", "binary", "multilabel", "regression")
MEMBERS = [
    pytest.param(part, spec_class, id=f"{part}-{spec_class.model_fields['name'].default}")
    for part, union in SPEC_UNIONS.items()
    for spec_class in list_union_members(union)
]


def build_spec(part: str, name: str) -> Any:
    return TypeAdapter(SPEC_UNIONS[part]).validate_python(build_member(name))


def build_meta(task: Task) -> PackedMeta:
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


def build_object(part: str, spec: Any, meta: PackedMeta) -> object:
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


def find_task(part: str, name: str) -> Task:
    """Find a task that the member fits."""
    suitable_tasks = (
        task
        for task in TASKS
        if (part == "losses" and name in TASK_DEFAULTS[task].losses)
        or (part == "metrics" and name in TASK_DEFAULTS[task].all_metrics)
    )
    return cast("Task", next(suitable_tasks, "classification"))


@pytest.mark.parametrize(("part", "spec_class"), MEMBERS)
def test_every_member_is_built(part: str, spec_class: type[Any]) -> None:
    name = spec_class.model_fields["name"].default
    assert build_object(part, build_spec(part, name), build_meta(find_task(part, name)))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("part", ["losses", "metrics"])
def test_members_that_validation_accepts_for_a_task_are_built(part: str, task: Task) -> None:
    meta = build_meta(task)
    dataset_info = DatasetInfo(task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits)
    accepted = []
    for spec_class in list_union_members(SPEC_UNIONS[part]):
        spec, report = build_spec(part, spec_class.model_fields["name"].default), ValidationReport()
        body: dict[str, Any] = {"dataset": {"name": "d"}, "architecture": {"name": "a"}}
        job = JobSpec.model_validate(
            body | {"loss": spec.model_dump()} if part == "losses" else body | {"metrics": [spec.model_dump()]}
        )
        context = TrainingContext(validation_context(job, dataset_info), job)
        (check_loss if part == "losses" else check_metrics)(context, report)
        if not report.errors:
            accepted.append(spec.name)
            assert build_object(part, spec, meta)
    assert accepted


@pytest.mark.parametrize("task", TASKS)
def test_validation_and_trainer_have_the_same_defaults(task: Task) -> None:
    loss, metric = builders.TASK_DEFAULTS[task]
    assert TASK_DEFAULTS[task].loss == loss
    assert TASK_DEFAULTS[task].metrics == (metric,)
