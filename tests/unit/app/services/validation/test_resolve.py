"""Parsing of specs and what the service reads from them."""

import pytest
from pydantic import Field, TypeAdapter

from app.services.validation.resolve import (
    find_model_reference,
    list_fields,
    parse_dataset_options,
    parse_job_spec,
    pin_unresolved_spec,
)
from core.errors import InvalidSpec
from core.spec.base import Spec
from tests.support.validation import CONVNET

TRAINING = {"dataset": {"name": "digits"}, "architecture": CONVNET}


class MoonOptions(Spec):
    noise: float = Field(default=0.1, ge=0.0)


def test_wrong_spec_has_json_pointers() -> None:
    with pytest.raises(InvalidSpec) as raised:
        parse_job_spec(TRAINING | {"epochs": 0})
    assert [pointer for pointer, _ in raised.value.errors] == ["/epochs"]


def test_dataset_options_get_defaults_and_pointers() -> None:
    assert parse_dataset_options(MoonOptions, {}, "/dataset") == {"noise": 0.1}
    with pytest.raises(InvalidSpec) as raised:
        parse_dataset_options(MoonOptions, {"noise": -1.0}, "/dataset")
    assert [pointer for pointer, _ in raised.value.errors] == ["/dataset/noise"]


def test_model_reference_is_the_model_or_its_initial_weights() -> None:
    assert find_model_reference(parse_job_spec(TRAINING)) is None
    assert find_model_reference(parse_job_spec(TRAINING | {"init_from": "digits@2"})) == ("/init_from", "digits@2")
    evaluation = parse_job_spec({"kind": "evaluate", "model": "digits", "dataset": {"name": "digits"}})
    assert find_model_reference(evaluation) == ("/model", "digits")


def test_fields_are_those_of_the_named_kind() -> None:
    assert "epochs" in list_fields("train")
    assert "epochs" not in list_fields("evaluate")
    assert list_fields("nothing") == frozenset()


def test_unresolved_job_gets_a_name_and_a_version() -> None:
    spec = pin_unresolved_spec(parse_job_spec(TRAINING), 3)
    assert spec.name is not None
    assert spec.name.startswith("convnet-digits-")
    assert spec.dataset is not None
    assert (spec.model, spec.dataset.version) == (spec.name, 3)


def test_wrong_specs_do_not_generate_the_json_schema_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSpec):
        parse_job_spec(TRAINING | {"epochs": 0})

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("generating the schema takes much longer than the validation of a spec")

    monkeypatch.setattr(TypeAdapter, "json_schema", fail)
    with pytest.raises(InvalidSpec):
        parse_job_spec(TRAINING | {"epochs": -1})
