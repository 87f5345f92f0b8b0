"""Runs with every member of every spec union; members that do not fit the task are rejected."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from core.datasets.packed import PackedDataset, Task
from core.errors import InvalidSpec
from core.spec import callbacks, losses, metrics, optimizers, schedules, transforms
from models.logits import NotProbabilities
from tests.support.spec_examples import build_member, list_names
from tests.support.training import build_small_run, build_spec, cpu_placement, pack, train_small_run
from worker.builders import build_run
from worker.engine.callback import TrainingError

TASKS: tuple[Task, ...] = get_args(Task)
CLASS_LOSSES = {"cross_entropy", "nll", "focal", "multi_margin"}
CLASS_METRICS = {"accuracy", "precision", "recall", "f1", "auroc", "confusion_matrix"}
NUMBER_METRICS = {"mae", "mse", "rmse", "r2"}


@pytest.mark.parametrize("name", list_names(optimizers.OptimizerSpec))
def test_every_optimizer_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    train_small_run(datasets["classification"], optimizer=build_member(name))


@pytest.mark.parametrize("name", list_names(schedules.ScheduleSpec))
def test_every_schedule_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    train_small_run(datasets["classification"], schedule=build_member(name), epochs=2)


@pytest.mark.parametrize("name", list_names(callbacks.CallbackSpec))
def test_every_callback_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    train_small_run(datasets["classification"], callbacks=[build_member(name)])


@pytest.mark.parametrize("name", list_names(transforms.TransformSpec))
def test_every_transform_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    train_small_run(datasets["classification"], dataset={"name": "synthetic", "train_transforms": [build_member(name)]})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", list_names(losses.LossSpec))
def test_every_loss_trains_on_its_tasks_and_is_rejected_on_others(
    datasets: dict[Task, PackedDataset], name: str, task: Task
) -> None:
    if (name, task) == ("kl_div", "regression"):  # it requires distributions; these targets are negative
        with pytest.raises(TrainingError, match="loss is not finite"):
            train_small_run(datasets[task], loss=build_member(name))
        return
    if name == "bce" and task != "classification":  # it requires probabilities; these networks return scores
        with pytest.raises(NotProbabilities, match="add a final 'sigmoid'"):
            train_small_run(datasets[task], loss=build_member(name))
        return
    fits = task == "multilabel" if name == "multilabel_margin" else (name in CLASS_LOSSES) == (task == "classification")
    if fits:
        assert train_small_run(datasets[task], loss=build_member(name))["train_loss"] == pytest.approx(0, abs=1e4)
        return
    with pytest.raises(InvalidSpec, match=f"loss '{name}' requires"):
        build_small_run(datasets[task], loss=build_member(name))


# Metrics of numbers are rejected for classes when the job is created.
METRICS = [
    (name, task)
    for name in list_names(metrics.MetricSpec)
    for task in TASKS
    if task == "regression" or name not in NUMBER_METRICS
]


@pytest.mark.parametrize(("name", "task"), METRICS)
def test_every_metric_is_computed_on_its_tasks_and_rejected_on_others(
    datasets: dict[Task, PackedDataset], name: str, task: Task
) -> None:
    fits = name in NUMBER_METRICS if task == "regression" else name in CLASS_METRICS
    if name == "top_k":
        fits = task == "classification"
    if not fits:
        with pytest.raises(InvalidSpec, match=r"metric|top_k"):
            build_small_run(datasets[task], metrics=[build_member(name)])
        return
    spec = build_spec(metrics=[build_member(name)])
    assert spec.metrics is not None
    key, run = spec.metrics[0].key, build_run(spec, datasets[task], cpu_placement())
    run.build_loop().fit(run.state)
    evaluated = run.evaluate()["valid"]
    if name == "confusion_matrix":
        assert "valid_confusion_matrix" not in run.state.metrics
        assert torch.tensor(evaluated[key]).sum() == (15 if task != "multilabel" else 15 * len(evaluated[key]))
    else:
        assert evaluated[key] == pytest.approx(run.state.metrics[f"valid_{key}"])


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_default_loss_and_metric(datasets: dict[Task, PackedDataset], task: Task) -> None:
    computed = train_small_run(datasets[task], loss=None, metrics=None)
    assert {"train_loss", "valid_loss", f"valid_{'mae' if task == 'regression' else 'accuracy'}"} <= set(computed)


def test_fewer_images_than_the_batch_size_make_one_batch(tmp_path: Path) -> None:
    run = build_small_run(pack(tmp_path / "few", num_samples=12), batch_size=64, epochs=1)
    run.build_loop().fit(run.state)
    assert run.state.step == 1
