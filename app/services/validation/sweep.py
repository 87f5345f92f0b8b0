"""Validates the specs of a sweep's trials, and reports their errors at the fields of the sweep."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from core.errors import InvalidSpec
from core.spec import JobSpec
from core.spec.base import FieldError
from core.spec.error_pointers import build_pointer
from core.sweeps.json_pointers import is_inside
from core.sweeps.sampling import Suggestion, suggest_parameters
from core.sweeps.space import ChoiceParameter, ParameterSpec
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_spec import Choose, UnknownField, build_trial_spec, choose_parameters
from core.sweeps.trials import SweepTrial

MAX_CHECKED_VALUES = 500
"""Values of a sweep that are checked before it is stored. The others are checked when a trial has them."""
SWEEP_FIELDS = {
    "milestones": "is set by the scheduler of the sweep",
    "register": "cannot be set in base: use the field register of the sweep",
}


def find_base_errors(sweep: SweepSpec) -> list[FieldError]:
    """Return an error for each field of the base that the sweep itself sets, unless it has its default.

    So the resolved spec of a job, which has all fields, can be a base.
    """
    defaults = {"milestones": None, "register": True}
    return [
        (f"/base/{name}", reason)
        for name, reason in SWEEP_FIELDS.items()
        if name in sweep.base and sweep.base[name] != defaults[name]
    ]


def build_trial(sweep: SweepSpec, suggestion: Suggestion) -> JobSpec:
    """Return the job spec of a suggested trial of a sweep.

    Raises:
        InvalidSpec: the trial is invalid. The errors have the pointers of the sweep.
    """
    try:
        return build_trial_spec(sweep, suggestion.parameters, number=suggestion.number)
    except UnknownField as error:
        errors = [(build_pointer(["space", pointer]), reason) for pointer, reason in error.errors]
        raise InvalidSpec(f"{errors[0][0]}: {errors[0][1]}", errors=errors) from None
    except InvalidSpec as error:
        raise relocate_errors(error, sweep, suggestion) from None


def relocate_errors(error: InvalidSpec, sweep: SweepSpec, suggestion: Suggestion) -> InvalidSpec:
    """Return an error of a trial's job spec with the pointers of the sweep."""
    errors = [(locate_field(sweep, suggestion, pointer), reason) for pointer, reason in error.errors]
    return InvalidSpec(f"{errors[0][0]}: {errors[0][1]}" if errors else error.detail, errors=errors, **error.extra)


def locate_field(sweep: SweepSpec, suggestion: Suggestion, pointer: str) -> str:
    """Return the pointer of the field of a sweep that sets a field of the job spec of one of its first trials."""
    owner = find_owner(pointer, suggestion.parameters)
    if owner is None:
        if pointer == "/model" and sweep.base.get("model") is None:  # the default
            return "/name" if sweep.base.get("name") is None else "/base/name"
        return f"/base{pointer}"
    rest, parameter = pointer.removeprefix(owner), sweep.space[owner]
    entry = suggestion.number  # a new sweep has no other trials before those of `first`
    if suggestion.source is TrialSource.FIRST and owner in sweep.first[entry]:
        return build_pointer(["first", entry, owner]) + rest
    if isinstance(parameter, ChoiceParameter):
        index = parameter.find_index(suggestion.parameters[owner])
        return build_pointer(["space", owner, "values", index]) + rest
    return build_pointer(["space", owner])


def find_owner(pointer: str, parameters: Mapping[str, JsonValue]) -> str | None:
    """Return the innermost parameter that sets a field; None if the base sets it."""
    owners = [each for each in parameters if pointer == each or is_inside(pointer, each)]
    return max(owners, key=len, default=None)


def find_value_errors(sweep: SweepSpec) -> list[FieldError]:
    """Return the errors of the lowest and highest value of each range, and of each value of each choice.

    Each value is checked alone, with the middle of the other ranges. A parameter whose conditions are then not met is
    not checked.
    """
    errors, num_checked = list[FieldError](), 0
    for pointer, parameter in sweep.space.items():
        ends = list(iterate_ends(parameter))[: MAX_CHECKED_VALUES - num_checked]
        num_checked += len(ends)
        found = [(place, _find_own_errors(sweep, pointer, value)) for place, value in ends]
        shared = set.intersection(*(set(each) for _, each in found)) if len(found) > 1 else set[FieldError]()
        errors += [(build_pointer(["space", pointer]) + rest, reason) for rest, reason in sorted(shared)]
        errors += [
            (build_pointer(["space", pointer, *place]) + rest, reason)
            for place, own in found
            for rest, reason in own
            if (rest, reason) not in shared
        ]
    return errors


def _find_own_errors(sweep: SweepSpec, pointer: str, value: JsonValue) -> list[FieldError]:
    """Return the errors of a value of a parameter, with pointers relative to the value."""
    parameters = choose_parameters(sweep, _prefer(pointer, value))
    if pointer not in parameters:
        return []
    try:
        build_trial_spec(sweep, parameters)
    except UnknownField:  # `build_trial` reports it
        return []
    except InvalidSpec as error:
        own = [each for each in error.errors if find_owner(each[0], parameters) == pointer]
        return [(field.removeprefix(pointer), reason) for field, reason in own]
    return []


def iterate_ends(parameter: ParameterSpec) -> Iterator[tuple[tuple[str | int, ...], JsonValue]]:
    """Yield the values of a parameter that are checked, each with its place in the parameter."""
    if isinstance(parameter, ChoiceParameter):
        yield from ((("values", index), value) for index, value in enumerate(parameter.values))
    else:
        yield ("low",), parameter.low
        yield ("high",), parameter.high


def _prefer(pointer: str, value: JsonValue) -> Choose:
    return lambda each, parameter: value if each == pointer else parameter.from_unit(0.5)


def check_parameters(sweep: SweepSpec, parameters: Mapping[str, JsonValue]) -> JobSpec:
    """Return the job spec of a trial with the parameters of a client.

    Raises:
        InvalidSpec: a parameter is unknown, missing or not in its range, or its conditions are not met, or the job
            spec refuses a value. The errors have the pointers of the request.
    """
    errors = list[FieldError]()

    def choose(pointer: str, parameter: ParameterSpec) -> JsonValue:
        if pointer not in parameters:
            errors.append(("/parameters", f"must have {pointer}"))
            return parameter.from_unit(0.5)
        if reason := parameter.find_error(parameters[pointer]):
            errors.append((build_pointer(["parameters", pointer]), reason))
            return parameter.from_unit(0.5)
        return parameters[pointer]

    active = choose_parameters(sweep, choose)
    for pointer in parameters:
        if pointer not in sweep.space:
            errors.append((build_pointer(["parameters", pointer]), "is not a parameter of the sweep"))
        elif pointer not in active:
            reason = "must be left out: the other parameters do not meet its conditions"
            errors.append((build_pointer(["parameters", pointer]), reason))
    if errors:
        raise InvalidSpec(f"{errors[0][0]}: {errors[0][1]}", errors=errors)
    try:
        return build_trial_spec(sweep, parameters)
    except InvalidSpec as error:
        raise locate_parameters(error, parameters) from None


def locate_parameters(error: InvalidSpec, parameters: Mapping[str, JsonValue]) -> InvalidSpec:
    """Return an error of a trial's job spec with the pointers of a request that adds this trial."""
    errors = list[FieldError]()
    for pointer, reason in error.errors:
        owner = find_owner(pointer, parameters)
        if owner is None:
            errors.append(("/parameters", f"give an invalid job: {pointer}: {reason}"))
        else:
            errors.append((build_pointer(["parameters", owner]) + pointer.removeprefix(owner), reason))
    return InvalidSpec(f"{errors[0][0]}: {errors[0][1]}" if errors else error.detail, errors=errors, **error.extra)


def sample_parameters(sweep: SweepSpec, count: int) -> list[Suggestion]:
    """Return the parameters of the first trials; fewer if a grid has fewer combinations."""
    trials, suggestions = list[SweepTrial](), list[Suggestion]()
    for _ in range(count):
        suggestion = suggest_parameters(sweep, trials)
        if suggestion is None:
            break
        suggestions.append(suggestion)
        trials.append(
            SweepTrial(suggestion.number, TrialState.RUNNING, suggestion.parameters, source=suggestion.source)
        )
    return suggestions
