"""Parameters are applied to the base in an order that does not depend on the order of the space."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidSpec
from core.spec.optimizers import AdamSpec, SgdSpec
from core.sweeps.json_pointers import get_value
from core.sweeps.spec import SweepSpec
from core.sweeps.trial_spec import (
    Choose,
    ParameterCycle,
    build_base,
    build_trial_spec,
    choose_parameters,
    derive_seed,
    sort_pointers,
)
from tests.support.sweeps import BASE, CONDITIONAL, LR, build_sweep


def find_trial_errors(sweep: SweepSpec, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSpec) as raised:
        build_trial_spec(sweep, parameters)
    return raised.value.errors


def test_an_object_is_set_before_the_fields_inside_of_it() -> None:
    sweep = build_sweep(space=CONDITIONAL)
    sgd = {"name": "sgd", "momentum": 0.1}
    parameters: dict[str, Any] = {
        "/optimizer/momentum": 0.9,
        "/optimizer/lr": 0.02,
        "/optimizer": sgd,
        "/batch_size": 64,
    }
    spec = build_trial_spec(sweep, parameters)
    assert spec.optimizer == SgdSpec(momentum=0.9, lr=0.02)
    assert spec.batch_size == 64


def test_a_missing_object_has_the_default_of_the_job_spec() -> None:
    assert build_trial_spec(build_sweep(), {"/optimizer/lr": 0.02}).optimizer == AdamSpec(lr=0.02)


def test_short_forms_of_the_base_and_of_values_are_expanded() -> None:
    space = {
        "/optimizer": {"type": "choice", "values": ["sgd", "adam"]},
        "/dataset/valid": {"type": "float", "low": 0.1, "high": 0.5},
        **LR,
    }
    spec = build_trial_spec(
        build_sweep(space=space), {"/optimizer": "sgd", "/dataset/valid": 0.3, "/optimizer/lr": 0.5}
    )
    assert spec.optimizer == SgdSpec(lr=0.5)
    assert spec.dataset.valid == 0.3


def test_an_item_of_an_array_can_be_a_parameter() -> None:
    base = BASE | {"callbacks": [{"name": "early_stopping"}, {"name": "early_stopping", "patience": 3}]}
    sweep = build_sweep(base=base, space={"/callbacks/1/patience": {"type": "int", "low": 1, "high": 9}})
    callbacks = build_trial_spec(sweep, {"/callbacks/1/patience": 7}).callbacks
    assert [callback.model_dump()["patience"] for callback in callbacks] == [5, 7]
    assert sweep.base == base


@pytest.mark.parametrize(
    ("pointer", "value", "errors"),
    [
        ("/optimzer/lr", 1.0, [("/optimzer/lr", "unknown field 'optimzer'; did you mean 'optimizer'?")]),
        (
            "/schedule/gamma",
            1.0,
            [("/schedule/gamma", "does not exist: the job spec has no object or array 'schedule'; set it in base")],
        ),
        (
            "/callbacks/2/patience",
            1.0,
            [("/callbacks/2/patience", "does not exist: /callbacks has no object or array '2'; set it in base")],
        ),
        ("/batch_size", 0.5, [("/batch_size", "should be an integer, not 0.5")]),
        ("/optimizer/lr", -1.0, [("/optimizer/lr", "should be greater than 0.0, not -1.0")]),
        (
            "/optimizer/lrr",
            1.0,
            [("/optimizer/lrr", "unknown field 'lrr'; did you mean 'lr'?")],
        ),
    ],
)
def test_a_refused_value_has_its_pointer_and_reason(pointer: str, value: float, errors: list[tuple[str, str]]) -> None:
    sweep = build_sweep(space={pointer: {"type": "float", "low": -2.0, "high": 2.0}})
    assert find_trial_errors(sweep, {pointer: value}) == errors


def test_a_parameter_that_the_sweep_does_not_have_is_refused() -> None:
    assert find_trial_errors(build_sweep(), {"/batch_size": 3}) == [("/batch_size", "is not a parameter of the sweep")]


def build_choice(seed: int) -> Choose:
    """Return a function that chooses random values."""
    generator = random.Random(seed)
    return lambda _, parameter: parameter.from_unit(generator.random())


def test_a_parameter_has_a_value_only_if_its_conditions_are_met() -> None:
    sweep = build_sweep(space=CONDITIONAL)
    has_momentum = set[tuple[str, bool]]()
    for seed in range(20):
        parameters = choose_parameters(sweep, build_choice(seed))
        name = build_trial_spec(sweep, parameters).optimizer.model_dump()["name"]
        has_momentum.add((name, "/optimizer/momentum" in parameters))
    assert has_momentum == {("sgd", True), ("adam", False)}


@pytest.mark.parametrize(("when", "is_active"), [(["sgd", "adam"], True), (["sgd", "nadam"], False), ("adam", True)])
def test_a_condition_can_have_several_values_and_refer_to_the_base(when: object, *, is_active: bool) -> None:
    sweep = build_sweep(
        space={"/optimizer/lr": {"type": "float", "low": 1, "high": 2, "when": {"/optimizer/name": when}}}
    )
    assert bool(choose_parameters(sweep, lambda _, each: each.from_unit(0.5))) is is_active


def test_conditions_that_depend_on_each_other_are_refused() -> None:
    number = {"type": "int", "low": 1, "high": 2}
    space = {
        "/a/b": number | {"when": {"/c": 1}},
        "/c": number | {"when": {"/a": 1}},
        "/a": number | {"when": {"/c": 1}},
    }
    with pytest.raises(ParameterCycle, match="depend on each other"):
        sort_pointers(build_sweep(space=space).space)


POINTERS = ["/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/f", "/g"]
CONDITIONS = ["/a", "/a/b/c", "/e/x", "/g"]


@settings(deadline=None, max_examples=100)
@given(data=st.data(), pointers=st.lists(st.sampled_from(POINTERS), min_size=1, unique=True))
def test_the_order_does_not_depend_on_the_order_of_the_space(data: st.DataObject, pointers: list[str]) -> None:
    space: dict[str, Any] = {
        pointer: {"type": "int", "low": 1, "high": 5}
        | ({"when": {data.draw(st.sampled_from(CONDITIONS)): 1}} if data.draw(st.booleans()) else {})
        for pointer in pointers
    }
    other = {pointer: space[pointer] for pointer in data.draw(st.permutations(pointers))}
    try:
        order = sort_pointers(build_sweep(space=space).space)
    except ParameterCycle:
        with pytest.raises(ParameterCycle):
            sort_pointers(build_sweep(space=other).space)
        return
    assert order == sort_pointers(build_sweep(space=other).space)
    for index, pointer in enumerate(order):
        later = order[index + 1 :]
        assert not [each for each in later if pointer.startswith(f"{each}/")]
        assert not [each for each in later for condition in space[pointer].get("when", {}) if condition == each]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_every_suggestion_is_applied(seed: int) -> None:
    sweep = build_sweep(space=CONDITIONAL)
    generator = random.Random(seed)
    parameters = choose_parameters(sweep, lambda _, each: each.from_unit(generator.random()))
    document = build_trial_spec(sweep, parameters).model_dump(mode="json")
    for pointer, value in parameters.items():
        if pointer == "/optimizer":
            assert get_value(document, "/optimizer/name") == value["name"]  # type: ignore[index, call-overload]
        else:
            assert get_value(document, pointer) == value
    assert document["seed"] == 0
    assert build_base(sweep)["dataset"] == {"name": "digits"}


def test_the_seeds_of_trials_and_repeats() -> None:
    base = BASE | {"seed": 7}
    same, different = build_sweep(base=base), build_sweep(base=base, seed_of_trials="different", seed=1)
    assert [build_trial_spec(same, {}, number=3, repeat=repeat).seed for repeat in range(3)] == [7, 8, 9]
    seeds = {build_trial_spec(different, {}, number=number).seed for number in range(20)}
    assert len(seeds) == 20
    assert build_trial_spec(different, {}, number=3).seed == derive_seed(1, "trial", 3)


def test_a_derived_seed_is_the_same_in_every_process() -> None:
    assert derive_seed(1, "trial", 3) == 1338682409
