"""Defaults of training specs and learning-rate searches."""

from typing import Any

from app.services.validation.context import RegisteredModel
from app.services.validation.resolve import resolve
from core.datasets.definition import DatasetInfo
from core.spec import ANY_JOB
from tests.support.validation import CONVNET, IMAGES, resolve_training, validation_context

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
