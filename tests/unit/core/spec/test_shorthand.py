"""One value in place of an array of one, and a name in place of an object, are accepted in every field of a spec."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

import app.main  # defines all request bodies
import models  # registers the architectures
from core.spec import ANY_JOB, JobSpec
from core.spec.base import Spec
from core.spec.shorthand import TypeForm, describe_shorthand, expand_document, expand_fields, expand_value, get_forms
from models import registry
from models.registry import Options

assert app.main.__name__
assert models.__name__
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)
OWN_FORMS = {"pad_color"}  # a color is a string or three integers


def iterate_subclasses(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from iterate_subclasses(subclass)


CLASSES = sorted({*iterate_subclasses(Spec), *iterate_subclasses(Options)}, key=lambda each: each.__qualname__)
FORMS = [
    pytest.param(form, id=f"{model.__name__}.{name}") for model in CLASSES for name, form in get_forms(model).items()
]


def list_alternatives(node: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rpartition("/")[2]]
    members = node.get("anyOf")
    if members is None:
        yield node
    for member in members or ():
        yield from list_alternatives(member, root)


@pytest.mark.parametrize("model", CLASSES)
def test_every_array_and_every_named_object_of_the_json_schema_has_a_short_form(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    for name, node in schema.get("properties", {}).items():
        if name in OWN_FORMS:
            continue
        form = get_forms(model).get(name, TypeForm(frozenset()))
        alternatives = list(list_alternatives(node, schema))
        arrays = [each for each in alternatives if each.get("type") == "array" and "prefixItems" not in each]
        tagged = [each for each in alternatives if "discriminator" in each]
        if len(arrays) == 1 and arrays[0].get("minItems", 0) > 1 and name != "parts":
            assert form.item is None or not form.is_single_allowed, name
            continue
        # An item can be an array itself.
        if len(arrays) == 1 and list(list_alternatives(arrays[0]["items"], schema)) == [{}]:
            assert not form.has_shorthand, name
            continue
        assert (form.item is not None) == (len(arrays) == 1), name
        assert form.is_single_allowed, name
        for each in tagged:
            assert form.key == each["discriminator"]["propertyName"], name
        for each in arrays:
            items = [*list_alternatives(each["items"], schema)]
            keys = {item["discriminator"]["propertyName"] for item in items if "discriminator" in item}
            if keys and not any(item.get("type") == "string" or "enum" in item for item in items):
                assert form.item is not None
                assert {form.item.key} == keys, name


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(value=JSON_VALUES)
def test_a_short_form_equals_the_long_one_and_others_do_not_change(form: TypeForm, value: Any) -> None:
    expanded = expand_value(value, form)
    assert expand_value(expanded, form) == expanded
    if expanded is value:
        return
    if isinstance(value, list):
        assert form.item is not None
        assert expanded == [expand_value(each, form.item) for each in value]
    elif isinstance(expanded, list):
        assert expanded == expand_value([value], form)
        assert value is not None
    else:
        assert isinstance(value, str)
        assert expanded == {form.key: value}


SHORT_AND_LONG: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"dataset": "mnist"}, {"dataset": {"name": "mnist"}}),
    ({"architecture": "convnet"}, {"architecture": {"name": "convnet"}}),
    ({"loss": "cross_entropy"}, {"loss": {"name": "cross_entropy"}}),
    ({"optimizer": "sgd"}, {"optimizer": {"name": "sgd"}}),
    ({"schedule": "cosine"}, {"schedule": {"name": "cosine"}}),
    ({"metrics": "accuracy"}, {"metrics": [{"name": "accuracy"}]}),
    ({"metrics": {"name": "top_k", "k": 2}}, {"metrics": [{"name": "top_k", "k": 2}]}),
    ({"callbacks": "early_stopping"}, {"callbacks": [{"name": "early_stopping"}]}),
    ({"callbacks": {"name": "mixup", "alpha": 0.1}}, {"callbacks": [{"name": "mixup", "alpha": 0.1}]}),
    ({"callbacks": ["ema", {"name": "mixup"}]}, {"callbacks": [{"name": "ema"}, {"name": "mixup"}]}),
    ({"freeze": "*.weight"}, {"freeze": ["*.weight"]}),
    ({"resume_from": "0" * 32}, {"resume_from": {"job": "0" * 32}}),
    (
        {"dataset": {"name": "digits", "train_transforms": "rotation"}},
        {"dataset": {"name": "digits", "train_transforms": [{"name": "rotation"}]}},
    ),
    (
        {"dataset": {"name": "digits", "train_transforms": {"name": "random_choice", "transforms": ["rotation"]}}},
        {
            "dataset": {
                "name": "digits",
                "train_transforms": [{"name": "random_choice", "transforms": [{"name": "rotation"}]}],
            }
        },
    ),
    (
        {"dataset": {"name": "digits", "train_transforms": {"name": "normalize", "mean": 0.5, "std": 1}}},
        {"dataset": {"name": "digits", "train_transforms": [{"name": "normalize", "mean": [0.5], "std": [1]}]}},
    ),
    ({"loss": {"name": "nll", "class_weights": 2.0}}, {"loss": {"name": "nll", "class_weights": [2.0]}}),
    ({"loss": {"name": "nll", "class_weights": "balanced"}}, {"loss": {"name": "nll", "class_weights": "balanced"}}),
    (
        {"schedule": {"name": "multi_step", "milestones": 3}},
        {"schedule": {"name": "multi_step", "milestones": [3]}},
    ),
    (
        {"schedule": {"name": "sequential", "schedules": ["linear", "cosine"], "milestones": 3}},
        {
            "schedule": {
                "name": "sequential",
                "schedules": [{"name": "linear"}, {"name": "cosine"}],
                "milestones": [3],
            }
        },
    ),
    (
        {"optimizer": {"name": "sgd", "groups": {"match": "head.*", "lr": 0.1}}},
        {"optimizer": {"name": "sgd", "groups": [{"match": "head.*", "lr": 0.1}]}},
    ),
    (
        {
            "optimizer": {
                "name": "several",
                "parts": [{"match": "a", "optimizer": "sgd"}, {"match": "*", "optimizer": "adam"}],
            }
        },
        {
            "optimizer": {
                "name": "several",
                "parts": [
                    {"match": "a", "optimizer": {"name": "sgd"}},
                    {"match": "*", "optimizer": {"name": "adam"}},
                ],
            }
        },
    ),
]
REQUIRED = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}


@pytest.mark.parametrize(("short", "long"), SHORT_AND_LONG)
@pytest.mark.parametrize("kind", ["train", "lr_find"])
def test_a_job_in_short_form_is_stored_in_long_form(kind: str, short: dict[str, Any], long: dict[str, Any]) -> None:
    expected = ANY_JOB.validate_python(REQUIRED | {"kind": kind} | long)
    assert ANY_JOB.validate_python(REQUIRED | {"kind": kind} | short) == expected
    assert ANY_JOB.validate_python(expected.model_dump(mode="json")) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics", 5),
        ("metrics", True),
        ("callbacks", None),
        ("callbacks", 1.5),
        ("freeze", {"match": "*"}),
        ("freeze", 3),
        ("optimizer", 1),
        ("optimizer", ["adam"]),
        ("loss", ["mse"]),
        ("resources", 2),
        ("resources", "two"),
        ("dataset", ["digits"]),
        ("dataset", 1),
        ("epochs", "10"),
        ("optimizer", {"name": "adam", "betas": 0.9}),  # two numbers are meant
        ("schedule", {"name": "sequential", "schedules": "cosine", "milestones": 1}),  # at least two are meant
        ("schedule", {"name": "sequential", "schedules": {"name": "cosine"}, "milestones": 1}),
        ("dataset", {"name": "digits", "train_transforms": [["rotation"]]}),
    ],
)
def test_values_with_another_meaning_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        JobSpec.model_validate(REQUIRED | {field: value})


class Named(Spec):
    name: str
    size: int = 1


class Ambiguous(Spec):
    either: Named | list[str] | None = None
    lists: list[str] | list[int] | None = None
    objects: Named | dict[str, int] | None = None
    names: str | list[str] = ""
    own: Annotated[list[str], BeforeValidator(lambda value: value.split(","))] = Field(default=[])
    anything: list[Any] = Field(default=[])
    nested: list[list[int]] = Field(default=[])
    choice: Literal["a"] | list[int] = "a"


@pytest.mark.parametrize(
    ("field", "value", "expanded"),
    [
        ("either", "a", "a"),  # a name, or an array of one string
        ("lists", "a", "a"),  # arrays of two kinds
        ("objects", "a", {"name": "a"}),
        ("objects", {"name": 1}, {"name": 1}),
        ("names", "a", "a"),  # accepted as it is
        ("own", "a,b", "a,b"),  # has its own validator
        ("anything", 5, 5),  # one value, or one row of values
        ("anything", {"a": 1}, {"a": 1}),
        ("anything", None, None),
        ("nested", [1], [1]),  # one row, or rows of one value
        ("choice", 1, [1]),
        ("choice", "b", "b"),
    ],
)
def test_an_ambiguous_value_is_not_expanded(field: str, value: object, expanded: object) -> None:
    assert expand_fields(Ambiguous, {field: value}) == {field: expanded}


def test_a_document_that_is_no_object_is_unchanged() -> None:
    assert expand_fields(JobSpec, ["a"]) == ["a"]
    assert expand_document(JobSpec, "a") == "a"
    with pytest.raises(ValidationError):
        TypeAdapter(JobSpec).validate_python("digits")


@pytest.mark.parametrize(
    ("name", "short", "long"),
    [
        ("mlp", {"hidden": 32}, {"hidden": [32]}),
        ("convnet", {"channels": 8, "head": 16}, {"channels": [8], "head": [16]}),
        ("tabular", {"hidden": 4}, {"hidden": [4]}),
        ("resnet18", {"head": 10}, {"head": [10]}),
        (
            "layers",
            {"layers": ["flatten", {"type": "residual", "layers": "relu", "projection": {"type": "linear", "out": 2}}]},
            {
                "layers": [
                    {"type": "flatten"},
                    {
                        "type": "residual",
                        "layers": [{"type": "relu"}],
                        "projection": [{"type": "linear", "out": 2}],
                    },
                ]
            },
        ),
        (
            "layers",
            {"layers": {"type": "conv2d", "out": 1, "kernel": 3}},
            {"layers": [{"type": "conv2d", "out": 1, "kernel": 3}]},
        ),
    ],
)
def test_options_of_architectures_are_expanded_at_every_depth(
    name: str, short: dict[str, Any], long: dict[str, Any]
) -> None:
    options = registry.get_architecture(name).options
    assert expand_document(options, short) == long
    assert expand_document(options, long) == long
    assert registry.resolve_options(name, long)


def test_a_description_says_what_is_accepted() -> None:
    forms = get_forms(JobSpec)
    assert "a string for an object with this `name`" in describe_shorthand(forms["callbacks"])
    assert describe_shorthand(forms["freeze"]) == "a single value may stand for an array of one."
    assert describe_shorthand(forms["dataset"]) == "a string may stand for an object with this `name`."
    assert describe_shorthand(forms["resources"]) == ""


class WithoutShorthand(Spec):
    size: Annotated[int, Field(ge=1)] = 1


def test_a_class_without_short_forms_is_validated_as_usual() -> None:
    assert WithoutShorthand.__pydantic_core_schema__["schema"]["type"] == "model-fields"
    assert JobSpec.__pydantic_core_schema__  # it has the expansion
    assert WithoutShorthand.model_validate({"size": 2}).size == 2
