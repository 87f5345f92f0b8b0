"""Defaults of training specs and learning-rate searches."""

from typing import Any

from app.services.validation.context import RegisteredModel
from app.services.validation.resolve import resolve
from core.datasets.columns import Column, Table
from core.datasets.definition import DatasetInfo
from core.spec import ANY_JOB
from tests.support.validation import CONVNET, IMAGES, find_errors, resolve_training, validation_context

MODEL = RegisteredModel("digits@3", "classification", ("a", "b", "c"), 3, (1, 8, 8), [], 100, "digits", 7, 0.2, None)


def test_loss_and_metrics_are_those_of_the_task() -> None:
    spec: Any = resolve_training().spec
    assert (spec.loss.name, [metric.name for metric in spec.metrics]) == ("cross_entropy", ["accuracy"])
    numbers = DatasetInfo("regression", (), 1, (1, 8, 8), {"train": 100, "valid": 20})
    spec = resolve_training(numbers).spec
    assert (spec.loss.name, [metric.name for metric in spec.metrics]) == ("mse", ["mae"])
    spec = resolve_training(metrics=[]).spec
    assert spec.metrics == ()


def test_share_for_validation_is_the_default_without_a_split() -> None:
    own, held_out = (resolve_training(info).spec.dataset for info in (IMAGES, IMAGES._replace(splits={"train": 100})))
    assert own is not None
    assert held_out is not None
    assert (own.valid, held_out.valid) == (None, 0.1)


def test_name_is_generated_and_the_model_is_named_after_it() -> None:
    spec: Any = resolve_training().spec
    assert spec.name.startswith("convnet-digits-")
    assert spec.model == spec.name
    spec = resolve_training(name="first", model="digits").spec
    assert spec.model == "digits"


def test_architecture_has_all_options_and_its_size() -> None:
    resolved = resolve_training()
    assert resolved.num_parameters > 0
    assert resolved.output_shape == (3,)
    spec: Any = resolved.spec
    assert set(CONVNET) < set(spec.architecture.model_dump())


def test_initial_model_is_pinned_to_its_version() -> None:
    body = {"dataset": {"name": "digits"}, "architecture": CONVNET, "init_from": "digits"}
    spec: Any = resolve(validation_context(ANY_JOB.validate_python(body), model=MODEL)).spec
    assert spec.init_from == "digits@3"


def test_learning_rate_search_keeps_its_own_fields() -> None:
    body = {"kind": "lr_find", "dataset": {"name": "digits"}, "architecture": CONVNET, "steps": 50}
    spec: Any = resolve(validation_context(ANY_JOB.validate_python(body))).spec
    assert (spec.kind, spec.steps, spec.dataset.version, spec.loss.name) == ("lr_find", 50, 1, "cross_entropy")


def test_monitors_are_the_training_loss_without_validation_samples() -> None:
    callbacks = [
        {"name": "keep_best"},
        {"name": "early_stopping", "patience": 2},
        {"name": "model_checkpoint", "monitor": "train_accuracy"},
        {"name": "csv_logger"},
    ]
    spec: Any = resolve_training(
        dataset={"name": "digits", "valid": 0}, callbacks=callbacks, schedule={"name": "plateau"}
    ).spec
    assert spec.dataset.valid == 0
    monitors = [callback.monitor for callback in spec.callbacks[:3]]
    assert [*monitors, spec.schedule.monitor] == ["train_loss", "train_loss", "train_accuracy", "train_loss"]
    spec = resolve_training(callbacks=callbacks[:1]).spec
    assert spec.callbacks[0].monitor == "valid_loss"


def test_all_samples_are_trained_on_without_validation() -> None:
    dataset = {"name": "digits", "valid": 0}
    resolved = resolve_training(IMAGES._replace(splits={"train": 100}), dataset=dataset, batch_size=10)
    assert resolved.steps_per_epoch == 10


def test_windows_without_a_validation_split_are_not_divided() -> None:
    table = Table(columns=(Column(name="x"),), targets=("x",), window=4)
    windows = DatasetInfo("regression", ("x+1",), 1, (4, 1), {"train": 100}, table)
    network = {"name": "mlp", "hidden": [4]}
    spec: Any = resolve_training(windows, architecture=network, callbacks=[{"name": "keep_best"}]).spec
    assert (spec.dataset.valid, spec.callbacks[0].monitor) == (0, "train_loss")
    explicit: Any = resolve_training(windows, architecture=network, dataset={"name": "w", "valid": 0}).spec
    assert explicit.dataset.valid == 0
    errors = find_errors(windows, architecture=network, dataset={"name": "w", "valid": 0.2})
    assert [pointer for pointer, _ in errors] == ["/dataset/valid"]
