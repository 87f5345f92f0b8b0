"""Names of other tools lead to the names of this service, and every suggested name exists."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import models  # registers the architectures
from app.schemas.predictions import InstanceIn, PredictIn
from app.services.catalog import SPEC_UNIONS, list_union_members
from core.datasets.builtin import list_names
from core.spec import JobSpec
from core.spec.base import Spec
from core.spec.error_pointers import find_nearest, format_unknown_name, to_pointers
from core.spec.metrics import list_curves
from core.spec.name_aliases import ALIASES
from core.spec.name_search import find_aliased_names, normalize_name
from models import registry
from models.layers_spec import LayersOptions
from models.registry import Options

assert models.__name__
SCHEMA = JobSpec.model_json_schema()
UNIONS = {
    kind: [member.model_fields["name"].default for member in list_union_members(SPEC_UNIONS[kind])]
    for kind in SPEC_UNIONS
}
CURVES = list_curves(
    JobSpec.model_validate({"dataset": "d", "architecture": "a", "metrics": UNIONS["metrics"]}).metrics or ()
)
JOB_FIELDS = list(JobSpec.model_fields)


def iterate_subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from iterate_subclasses(subclass)


def list_options() -> set[str]:
    classes = [*iterate_subclasses(Spec), *iterate_subclasses(Options)]
    return {field.alias or name for each in classes for name, field in each.model_fields.items()}


def list_layers() -> list[str]:
    layers = LayersOptions.model_json_schema()["properties"]["layers"]["items"]
    return list(layers["discriminator"]["mapping"])


KNOWN = UNIONS | {
    "architectures": registry.list_architectures(),
    "datasets": list_names(),
    "layers": list_layers(),
    "options": sorted(list_options()),
    "curves": CURVES,
    "predictions": [*PredictIn.model_fields, *InstanceIn.model_fields],
}


@pytest.mark.parametrize("kind", sorted(set(ALIASES) - {"places"}))
def test_every_suggested_name_exists(kind: str) -> None:
    assert set(ALIASES[kind]) <= set(KNOWN[kind])


def test_every_suggested_place_exists() -> None:
    for place in ALIASES["places"]:
        field, _, option = place.partition(".")
        assert field in JOB_FIELDS
        if option:
            members = {
                "optimizer": list_union_members(SPEC_UNIONS["optimizers"]),
                "loss": list_union_members(SPEC_UNIONS["losses"]),
            }.get(field, [JobSpec.model_fields[field].annotation])
            assert any(option in member.model_fields for member in members), place  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", sorted(set(ALIASES) - {"options", "places", "curves"}))
def test_every_alias_suggests_its_name_and_is_none_itself(kind: str) -> None:
    names = {normalize_name(name) for name in KNOWN[kind]}
    for target, aliases in ALIASES[kind].items():
        for alias in aliases.split():
            assert normalize_name(alias) not in names, f"{alias} is a name of {kind}"
            assert find_nearest(alias, KNOWN[kind])[0] == target, alias


@pytest.mark.parametrize("kind", sorted(UNIONS))
@pytest.mark.parametrize("form", ["{}", "nn_{}", "luz_callback_{}", "torch.nn.{}", "v2.{}"])
def test_every_name_is_found_in_other_spellings(kind: str, form: str) -> None:
    for name in UNIONS[kind]:
        camel = "".join(part.capitalize() for part in name.split("_"))
        for spelling in (camel, camel + "Loss", name.upper(), name.replace("_", "-")):
            found = find_nearest(form.format(spelling), UNIONS[kind])
            assert found[:1] == [name], form.format(spelling)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("transforms", "random_rotation", "rotation"),
        ("transforms", "RandomHorizontalFlip", "horizontal_flip"),
        ("transforms", "transforms.RandomHorizontalFlip", "horizontal_flip"),
        ("transforms", "transform_random_horizontal_flip", "horizontal_flip"),
        ("losses", "categorical_crossentropy", "cross_entropy"),
        ("losses", "sparse_categorical_crossentropy", "cross_entropy"),
        ("losses", "SparseCategoricalCrossentropy", "cross_entropy"),
        ("losses", "nn_cross_entropy_loss", "cross_entropy"),
        ("losses", "torch.nn.CrossEntropyLoss", "cross_entropy"),
        ("losses", "nn_bce_with_logits_loss", "bce_with_logits"),
        ("losses", "MeanSquaredError", "mse"),
        ("schedules", "ReduceLROnPlateau", "plateau"),
        ("schedules", "CosineAnnealingLR", "cosine"),
        ("schedules", "lr_one_cycle", "one_cycle"),
        ("callbacks", "EarlyStopping", "early_stopping"),
        ("callbacks", "ModelCheckpoint", "model_checkpoint"),
        ("callbacks", "luz_callback_early_stopping", "early_stopping"),
        ("callbacks", "luz_callback_keep_best_model", "keep_best"),
        ("callbacks", "StochasticWeightAveraging", "swa"),
        ("optimizers", "optim_adam", "adam"),
        ("optimizers", "tf.keras.optimizers.Adam", "adam"),
        ("metrics", "luz_metric_multiclass_auroc", "auroc"),
        ("metrics", "AUC", "auroc"),
        ("metrics", "F1Score", "f1"),
        ("architectures", "ResNet18", "resnet18"),
        ("architectures", "torchvision.models.resnet50", "resnet50"),
        ("architectures", "model_resnet18", "resnet18"),
        ("architectures", "EfficientNetB0", "efficientnet_b0"),
        ("architectures", "cnn", "convnet"),
        ("datasets", "FashionMNIST", "fashion_mnist"),
        ("layers", "Dense", "linear"),
        ("layers", "MaxPooling2D", "max_pool2d"),
        ("layers", "nn_linear", "linear"),
        ("predictions", "b64", "image"),
        ("predictions", "inputs", "instances"),
        ("curves", "val_loss", "valid_loss"),
        ("curves", "val_acc", "valid_accuracy"),
        ("curves", "val/accuracy", "valid_accuracy"),
        ("curves", "train_acc", "train_accuracy"),
        ("curves", "validation_loss", "valid_loss"),
        ("curves", "accuracy", "train_accuracy"),
        ("curves", "val_f1_score", "valid_f1"),
    ],
)
def test_names_of_other_tools_are_suggested_first(kind: str, name: str, expected: str) -> None:
    assert find_nearest(name, KNOWN[kind])[0] == expected


@pytest.mark.parametrize(
    ("name", "valid_names", "expected"),
    [
        ("learning_rate", ["lr", "betas", "eps"], "lr"),
        ("epsilon", ["lr", "betas", "eps"], "eps"),
        ("max_epochs", JOB_FIELDS, "epochs"),
        ("criterion", JOB_FIELDS, "loss"),
        ("lr", JOB_FIELDS, "optimizer.lr"),
        ("learning_rate", JOB_FIELDS, "optimizer.lr"),
        ("val_split", JOB_FIELDS, "dataset.valid"),
        ("validation_split", ["valid", "test", "stratify"], "valid"),
        ("patience", JOB_FIELDS, "callbacks"),
        ("units", ["hidden", "activation"], "hidden"),
        ("prob", ["p", "degrees"], "p"),
    ],
)
def test_options_of_other_tools_are_suggested_first(name: str, valid_names: list[str], expected: str) -> None:
    assert find_nearest(name, valid_names)[0] == expected


@pytest.mark.parametrize(
    ("field", "value", "pointer", "reason"),
    [
        ("callbacks", ["ReduceLROnPlateau"], "/callbacks/0", "did you mean the schedule 'plateau'?"),
        ("callbacks", ["EarlyStoping"], "/callbacks/0", "did you mean 'early_stopping'?"),
        ("loss", "MeanSquaredError", "/loss", "did you mean 'mse'?"),
        ("optimizer", {"name": "adam", "learning_rate": 1.0}, "/optimizer/learning_rate", "did you mean 'lr'?"),
        ("validation_split", 0.2, "/validation_split", "did you mean 'dataset.valid'?"),
    ],
)
def test_errors_of_a_job_suggest_the_names(field: str, value: object, pointer: str, reason: str) -> None:
    with pytest.raises(ValidationError) as raised:
        JobSpec.model_validate({"dataset": "digits", "architecture": "mlp", field: value})
    ((found, text),) = to_pointers(raised.value.errors(), SCHEMA)
    assert found == pointer
    assert text.endswith(reason)


@given(st.text(max_size=80), st.lists(st.text(max_size=20), max_size=5))
def test_any_name_is_compared(name: str, valid_names: list[str]) -> None:
    assert set(find_aliased_names(name, valid_names)) <= set(valid_names)
    assert format_unknown_name("name", name, valid_names)
