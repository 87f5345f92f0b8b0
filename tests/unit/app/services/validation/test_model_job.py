"""Rules for jobs that apply a registered model to a dataset."""

from typing import Any

import pytest

from app.services.validation.context import RegisteredModel, ResolvedSpec
from app.services.validation.resolve import resolve
from core.datasets.definition import DatasetInfo
from core.errors import InvalidSpec
from core.spec import ANY_JOB
from tests.support.validation import IMAGES, validation_context

MODEL = RegisteredModel("digits@1", "classification", ("a", "b", "c"), 3, (1, 8, 8), [], 100, "digits", 7, 0.2, None)


def resolve_job(
    kind: str, info: DatasetInfo = IMAGES, model: RegisteredModel = MODEL, dataset: str = "digits", **changes: Any
) -> ResolvedSpec:
    spec = ANY_JOB.validate_python({"kind": kind, "model": "digits", "dataset": {"name": dataset}} | changes)
    return resolve(validation_context(spec, info, model=model))


def find_pointers(*args: Any, **changes: Any) -> list[str]:
    with pytest.raises(InvalidSpec) as raised:
        resolve_job(*args, **changes)
    return [pointer for pointer, _ in raised.value.errors]


def test_model_seed_and_shares_are_defaults_on_its_own_dataset() -> None:
    info = IMAGES._replace(splits={"train": 100})
    spec: Any = resolve_job("evaluate", info, split="valid").spec
    assert (spec.model, spec.seed, spec.dataset.valid, spec.dataset.version) == ("digits@1", 7, 0.2, 1)
    assert [metric.name for metric in spec.metrics] == ["accuracy"]
    other: Any = resolve_job("evaluate", info, dataset="moons", split="valid").spec
    assert (other.seed, other.dataset.valid) == (0, 0.1)


def test_predictions_name_at_most_all_classes() -> None:
    spec: Any = resolve_job("predict", split="valid", top_k=9).spec
    assert spec.top_k == 3


def test_split_must_exist() -> None:
    assert find_pointers("predict", split="test") == ["/split"]


def test_samples_and_classes_must_be_those_of_the_model() -> None:
    assert find_pointers("predict", IMAGES._replace(image_shape=(3, 8, 8)), split="valid") == ["/dataset"]
    assert find_pointers("evaluate", IMAGES._replace(classes=("a", "c", "b")), split="valid") == ["/dataset"]
    resolve_job("predict", IMAGES._replace(classes=("a", "c", "b")), split="valid")


def test_transforms_are_for_training_only() -> None:
    dataset = {"name": "digits", "train_transforms": [{"name": "rotation"}]}
    spec = {"kind": "predict", "model": "digits", "dataset": dataset, "split": "valid"}
    with pytest.raises(InvalidSpec, match="'predict' does not train"):
        resolve(validation_context(ANY_JOB.validate_python(spec), model=MODEL))


@pytest.mark.parametrize("kind", ["variant", "predict_archive"])
def test_variants_and_archives_require_a_model_of_images(kind: str) -> None:
    options: dict[str, Any] = {"format": "onnx", "split": "valid"} if kind == "variant" else {"archive": "0" * 32}
    resolve_job(kind, **options)
    rows = MODEL._replace(image_shape=(4,))
    assert "/model" in find_pointers(kind, model=rows, **options)


@pytest.mark.parametrize("kind", ["evaluate", "predict"])
def test_views_require_a_model_of_images(kind: str) -> None:
    rows, pixels = MODEL._replace(image_shape=(4,)), MODEL._replace(image_shape=(1, 1, 8))
    resolve_job(kind, split="valid", test_time_augmentation="mirror_and_shift")
    for model, views, is_valid in [
        (rows, "none", True),
        (rows, "mirror", False),
        (pixels, "mirror", True),
        (pixels, "mirror_and_shift", False),
    ]:
        pointers = find_pointers(kind, model=model, split="valid", test_time_augmentation=views)
        assert ("/test_time_augmentation" not in pointers) == is_valid


def test_a_model_without_validation_can_be_evaluated_on_the_validation_split_of_the_dataset() -> None:
    model = MODEL._replace(valid=0.0)
    spec: Any = resolve_job("evaluate", model=model, split="valid").spec
    assert spec.dataset.valid is None
    without = IMAGES._replace(splits={"train": 100, "test": 9})
    assert find_pointers("evaluate", without, model, split="valid") == ["/split"]
    spec = resolve_job("evaluate", without, model, split="test").spec
    assert spec.dataset.valid == 0
