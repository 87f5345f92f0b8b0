"""Every member of every spec union becomes a live thing that trains; what does not fit is refused."""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import nn

from core.datasets.packed import PackedDataset
from core.errors import InvalidSpec
from core.spec import callbacks, losses, metrics, optimizers, schedules, transforms
from models.logits import NotProbabilities
from tests.support.training import build_small_run, build_spec, cpu_placement, pack
from worker.builders import build_run, dataloaders, make_schedule
from worker.engine.callback import TrainingError
from worker.engine.callbacks import BatchLrScheduler, EpochLrScheduler
from worker.engine.dataloader import DeviceResidentDataLoader
from worker.engine.state import RunState

Task = Literal["classification", "binary", "multilabel", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)
NEEDED: dict[str, dict[str, Any]] = {
    "several": {
        "parts": [
            {"match": "*weight", "optimizer": {"name": "sgd", "momentum": 0.9}},
            {"match": "*", "optimizer": {"name": "adam"}},
        ]
    },
    "step": {"step_size": 1},
    "multi_step": {"milestones": [1]},
    "cosine_warm_restarts": {"t_0": 1},
    "cyclic": {"base_lr": 1e-4, "max_lr": 1e-2},
    "one_cycle": {"max_lr": 1e-2},
    "lambda": {"factors": [1.0, 0.5]},
    "multiplicative": {"factors": [0.5]},
    "sequential": {"schedules": [{"name": "constant"}, {"name": "cosine"}], "milestones": [1]},
    "time_limit": {"seconds": 1e6},
    "freeze": {"match": "head.*"},
    "affine": {"degrees": 10},
    "normalize": {"mean": [0.5], "std": [0.25]},
    "random_apply": {"transforms": [{"name": "horizontal_flip"}]},
    "random_choice": {"transforms": [{"name": "horizontal_flip"}, {"name": "rotation"}]},
    "random_order": {"transforms": [{"name": "random_crop"}, {"name": "rotation"}]},
    "top_k": {"k": 2},
}


def names_of(union: object) -> list[str]:
    """The names of all members of a discriminated union, however deep it is wrapped."""
    names: list[str] = []
    for member in get_args(union):
        if isinstance(member, type) and issubclass(member, BaseModel):
            names.append(member.model_fields["name"].default)
        elif get_args(member):
            names.extend(names_of(member))
    return names


def asked(name: str) -> dict[str, Any]:
    return {"name": name, **NEEDED.get(name, {})}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, PackedDataset]:
    root = tmp_path_factory.mktemp("packed")
    return {task: pack(root / task, task=task, num_samples=150) for task in TASKS}


def trained(packed: PackedDataset, **changes: Any) -> dict[str, float]:
    run = build_run(build_spec(**{"epochs": 1, "metrics": []} | changes), packed, cpu_placement())
    before = [parameter.detach().clone() for parameter in run.network.parameters()]
    run.build_loop().fit(run.state)
    assert any(not torch.equal(old, new) for old, new in zip(before, run.network.parameters(), strict=True))
    return run.state.metrics


CLASS_LOSSES = {"cross_entropy", "nll", "focal", "multi_margin"}
CLASS_METRICS = {"accuracy", "precision", "recall", "f1", "auroc", "confusion_matrix"}
NUMBER_METRICS = {"mae", "mse", "rmse", "r2"}


@pytest.mark.parametrize("name", names_of(optimizers.OptimizerSpec))
def test_every_optimizer_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    trained(datasets["classification"], optimizer=asked(name))


@pytest.mark.parametrize("name", names_of(schedules.ScheduleSpec))
def test_every_schedule_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    trained(datasets["classification"], schedule=asked(name), epochs=2)


@pytest.mark.parametrize("name", names_of(callbacks.CallbackSpec))
def test_every_callback_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    trained(datasets["classification"], callbacks=[asked(name)])


@pytest.mark.parametrize("name", names_of(transforms.TransformSpec))
def test_every_transform_trains(datasets: dict[Task, PackedDataset], name: str) -> None:
    trained(datasets["classification"], dataset={"name": "synthetic", "train_transforms": [asked(name)]})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", names_of(losses.LossSpec))
def test_every_loss_trains_on_its_tasks_and_is_refused_on_others(
    datasets: dict[Task, PackedDataset], name: str, task: Task
) -> None:
    if (name, task) == ("kl_div", "regression"):  # it accepts distributions; these targets go below zero
        with pytest.raises(TrainingError, match="loss is not finite"):
            trained(datasets[task], loss=asked(name))
        return
    if name == "bce" and task != "classification":  # it takes probabilities; these networks give raw scores
        with pytest.raises(NotProbabilities, match="add a final 'sigmoid'"):
            trained(datasets[task], loss=asked(name))
        return
    fits = task == "multilabel" if name == "multilabel_margin" else (name in CLASS_LOSSES) == (task == "classification")
    if fits:
        assert trained(datasets[task], loss=asked(name))["train_loss"] == pytest.approx(0, abs=1e4)
        return
    with pytest.raises(InvalidSpec, match=f"loss '{name}' requires"):
        build_small_run(datasets[task], loss=asked(name))


# An error of scores against classes is refused when the job is posted, not here.
METRICS = [
    (name, task)
    for name in names_of(metrics.MetricSpec)
    for task in TASKS
    if task == "regression" or name not in NUMBER_METRICS
]


@pytest.mark.parametrize(("name", "task"), METRICS)
def test_every_metric_is_told_on_its_tasks_and_refused_on_others(
    datasets: dict[Task, PackedDataset], name: str, task: Task
) -> None:
    fits = name in NUMBER_METRICS if task == "regression" else name in CLASS_METRICS
    if name == "top_k":
        fits = task == "classification"
    if not fits:
        with pytest.raises(InvalidSpec, match=r"metric|top_k"):
            build_small_run(datasets[task], metrics=[asked(name)])
        return
    spec = build_spec(metrics=[asked(name)])
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
def test_a_task_has_a_usual_loss_and_metric(datasets: dict[Task, PackedDataset], task: Task) -> None:
    found = trained(datasets[task], loss=None, metrics=None)
    assert {"train_loss", "valid_loss", f"valid_{'mae' if task == 'regression' else 'accuracy'}"} <= set(found)


def test_one_cycle_has_the_workshops_figures() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], fused=True)
    callback = make_schedule(schedules.OneCycleSpec(max_lr=0.01), optimizer, 50, 782)
    state = RunState(max_epochs=50, steps_per_epoch=782)
    rates, betas = [], []
    weight.grad = torch.zeros(1)
    optimizer.step()  # torch warns of a schedule that steps first
    for _ in range(50 * 782):
        rates.append(optimizer.param_groups[0]["lr"])
        betas.append(optimizer.param_groups[0]["betas"][0])
        callback.on_train_batch_end(state)
    assert rates[0] == pytest.approx(4e-4)
    assert rates[-1] == pytest.approx(4e-8)
    assert (max(rates), rates.index(max(rates))) == (pytest.approx(0.01), 11729)
    assert (betas[0], min(betas), betas[-1]) == pytest.approx((0.95, 0.85, 0.95))


def test_a_schedule_steps_at_its_breakpoint() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    per_epoch = make_schedule(schedules.CosineSpec(), optimizer, 3, 10)
    per_batch = make_schedule(schedules.CosineSpec(call_on="train_batch_end"), optimizer, 3, 10)
    assert isinstance(per_epoch, EpochLrScheduler)
    assert isinstance(per_batch, BatchLrScheduler)
    assert (per_epoch.state_dict()["T_max"], per_batch.state_dict()["T_max"]) == (3, 30)


def test_plateau_looks_at_the_epochs_value_and_knows_which_way_is_better() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    spec = schedules.PlateauSpec(monitor="valid_accuracy", patience=1, factor=0.5)
    callback = make_schedule(spec, optimizer, 9, 1)
    state, rates = RunState(max_epochs=9, steps_per_epoch=1), []
    for accuracy in (0.1, 0.5, 0.5, 0.4, 0.9):
        state.metrics = {"valid_accuracy": accuracy}
        callback.on_epoch_end(state)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_an_unknown_monitor_is_refused_with_those_there_are(datasets: dict[Task, PackedDataset]) -> None:
    with pytest.raises(InvalidSpec, match="'valid_f1' is not a metric of this job; it has valid_loss, valid_accuracy"):
        build_small_run(datasets["classification"], callbacks=[{"name": "keep_best", "monitor": "valid_f1"}])


def test_class_weights_must_fit_the_classes(datasets: dict[Task, PackedDataset]) -> None:
    with pytest.raises(Exception, match="class_weights has 2 values; the dataset has 3"):
        build_small_run(datasets["classification"], loss={"name": "cross_entropy", "class_weights": [1.0, 2.0]})
    trained(datasets["classification"], loss={"name": "cross_entropy", "class_weights": "balanced"})


def test_normalisation_that_does_not_fit_the_channels_is_refused(datasets: dict[Task, PackedDataset]) -> None:
    normalize = {"name": "normalize", "mean": [0.5, 0.5], "std": [0.2, 0.2]}
    with pytest.raises(InvalidSpec, match="normalize: mean and std must have 1 values"):
        build_small_run(datasets["classification"], dataset={"name": "synthetic", "train_transforms": [normalize]})


def test_a_top_k_of_more_than_all_classes_is_refused(datasets: dict[Task, PackedDataset]) -> None:
    with pytest.raises(InvalidSpec, match="at least 4 classes"):
        build_small_run(datasets["classification"], metrics=[{"name": "top_k", "k": 4}])


def test_images_stay_where_they_are_without_a_gpu(datasets: dict[Task, PackedDataset]) -> None:
    assert not isinstance(build_small_run(datasets["classification"]).train_batches, DeviceResidentDataLoader)


def test_images_that_fit_are_changed_on_the_device_unless_a_transform_works_on_the_host_alone(
    datasets: dict[Task, PackedDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnTheHost:
        num_draws = 0

        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            return images

    monkeypatch.setattr(dataloaders, "fits_on_device", lambda *_: True)
    every = [asked(name) for name in names_of(transforms.TransformSpec)]
    dataset = {"name": "synthetic", "train_transforms": every}
    run = build_small_run(datasets["classification"], dataset=dataset)
    assert isinstance(run.train_batches, DeviceResidentDataLoader)
    assert not isinstance(run.valid_batches, DeviceResidentDataLoader)
    run.build_loop().fit(run.state)
    assert run.state.epoch > 0
    monkeypatch.setattr(dataloaders, "make_transform", lambda _: OnTheHost())
    assert not isinstance(
        build_small_run(datasets["classification"], dataset=dataset).train_batches, DeviceResidentDataLoader
    )


def test_fewer_images_than_a_batch_make_one_batch(tmp_path: Path) -> None:
    run = build_small_run(pack(tmp_path / "few", num_samples=12), batch_size=64, epochs=1)
    run.build_loop().fit(run.state)
    assert run.state.step == 1


def test_the_best_epochs_weights_are_taken(datasets: dict[Task, PackedDataset]) -> None:
    run = build_small_run(
        datasets["classification"], epochs=4, callbacks=[{"name": "keep_best", "monitor": "valid_loss"}]
    )
    run.build_loop().fit(run.state)
    assert run.keep_best is not None
    nn.init.zeros_(next(run.network.parameters()))  # as if the last epoch had spoilt them
    best = run.load_best_weights()
    assert run.evaluate()["valid"]["loss"] == pytest.approx(best["valid_loss"])
