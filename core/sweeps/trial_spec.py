"""Applies the parameters of a trial to the base of a sweep, in an order in which conditions can be checked."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import JsonValue, ValidationError

from core.errors import InvalidSpec
from core.spec import JobSpec
from core.spec.base import FieldError
from core.spec.error_pointers import format_unknown_name, to_pointers
from core.spec.shorthand import expand_document
from core.sweeps.json_pointers import UnknownPointer, get_value, is_inside, set_value, split_pointer
from core.sweeps.space import Parameters, ParameterSpec, Space, encode_value
from core.sweeps.spec import SweepSpec

Document = dict[str, Any]
Choose = Callable[[str, ParameterSpec], JsonValue]


class UnknownField(InvalidSpec):
    """A parameter sets a field that the job spec does not have, or cannot have at this place."""


class ParameterCycle(ValueError):
    """The conditions of parameters depend on each other. `pointers` is the cycle."""

    def __init__(self, pointers: list[str]) -> None:
        super().__init__(f"the conditions of {' and '.join(sorted(set(pointers)))} depend on each other")
        self.pointers = pointers


def sort_pointers(space: Space) -> list[str]:
    """Return the pointers of a space in the order in which their values are set.

    A value is set before the values inside of it, and before the parameters whose conditions depend on it. Among the
    others, the pointer with fewer parts, then the first in the alphabet, comes first. The order does not depend on the
    order of the fields of the space.

    Raises:
        ParameterCycle: conditions depend on each other.
    """
    pointers = sorted(space, key=lambda pointer: (pointer.count("/"), pointer))
    sorter = TopologicalSorter[str]()
    for pointer in pointers:
        parents = [other for other in pointers if is_inside(pointer, other)]
        conditions = space[pointer].when or {}
        parents += [
            other for other in pointers for condition in conditions if other == condition or is_inside(condition, other)
        ]
        sorter.add(pointer, *dict.fromkeys(parents))
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise ParameterCycle(error.args[1]) from None


def build_base(sweep: SweepSpec) -> Document:
    """Return the base of a sweep with short forms in their long form, and with the defaults of missing objects.

    A missing object is one inside of which the sweep sets a field: `/optimizer/lr` adds the default optimizer.
    """
    document: Document = expand_document(JobSpec, sweep.base)
    for pointer in sweep.space:
        name, *others = split_pointer(pointer)
        if others and name not in document and (default := _build_default(name)) is not None:
            document[name] = default
    return document


@lru_cache
def _build_default(name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the default of a field of the job spec as JSON; None if it has none."""
    field = JobSpec.model_fields.get(name)
    if field is None or field.is_required():
        return None
    return JobSpec.model_construct(**{name: field.get_default()}).model_dump(mode="json", include={name})[name]


def choose_parameters(sweep: SweepSpec, choose: Choose) -> dict[str, JsonValue]:
    """Choose the value of every parameter whose conditions are met, in the order of `sort_pointers`."""
    document, parameters = build_base(sweep), dict[str, JsonValue]()
    for pointer in sort_pointers(sweep.space):
        parameter = sweep.space[pointer]
        if not is_active(parameter, document):
            continue
        parameters[pointer] = choose(pointer, parameter)
        try:
            document = set_value(document, pointer, expand_parameter(pointer, parameters[pointer]))
        except UnknownPointer:
            continue  # `build_trial_spec` reports it
    return parameters


def is_active(parameter: ParameterSpec, document: Document) -> bool:
    """Return whether a job spec meets all conditions of a parameter."""
    return all(_has_value(document, *condition) for condition in (parameter.when or {}).items())


def _has_value(document: Document, pointer: str, accepted: Any) -> bool:  # noqa: ANN401 - any JSON value
    try:
        value = encode_value(get_value(document, pointer))
    except UnknownPointer:
        return False
    values = accepted if isinstance(accepted, tuple) else (accepted,)
    return value in {encode_value(each) for each in values}


def expand_parameter(pointer: str, value: JsonValue) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a top-level field in its long form, so that fields inside of it can be set."""
    name, *others = split_pointer(pointer)
    return value if others else expand_document(JobSpec, {name: value})[name]


def build_trial_spec(sweep: SweepSpec, parameters: Parameters, *, number: int = 0, repeat: int = 0) -> JobSpec:
    """Apply the parameters of a trial to the base of its sweep.

    Args:
        sweep: the sweep.
        parameters: the values, keyed by JSON pointer. They are set in the order of `sort_pointers`.
        number: the number of the trial.
        repeat: the index of the job among the repeats of the trial.

    Raises:
        UnknownField: a pointer does not exist.
        InvalidSpec: the job spec refuses a value. Its errors have the pointers of the job spec.
    """
    document, errors = build_base(sweep), list[FieldError]()
    for pointer in [each for each in sort_pointers(sweep.space) if each in parameters]:
        try:
            document = set_value(document, pointer, expand_parameter(pointer, parameters[pointer]))
        except UnknownPointer as error:
            errors.append((pointer, _describe_missing(document, pointer, str(error.args[0]))))
    errors += [(pointer, "is not a parameter of the sweep") for pointer in parameters if pointer not in sweep.space]
    if errors:
        raise UnknownField("The parameters cannot be applied to the base of the sweep.", errors=errors)
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        pointers = to_pointers(error.errors(include_url=False), _build_job_schema())
        raise InvalidSpec("The job spec of the trial is invalid.", errors=pointers) from None
    seed = spec.seed if sweep.seed_of_trials == "same" else derive_seed(sweep.seed, "trial", number)
    return spec.model_copy(update={"seed": (seed + repeat) % 2**63})


@lru_cache
def _build_job_schema() -> dict[str, Any]:
    return JobSpec.model_json_schema()


def _describe_missing(document: Document, pointer: str, token: str) -> str:
    """Explain which part of a pointer the job spec lacks, and what can be done."""
    if pointer.split("/")[1] == token and token not in JobSpec.model_fields:
        return format_unknown_name("field", token, sorted(JobSpec.model_fields))
    parent = ""
    for part in pointer.split("/")[1:]:
        if not _is_container(document, f"{parent}/{part}"):
            break
        parent = f"{parent}/{part}"
    return f"does not exist: {parent or 'the job spec'} has no object or array {token!r}; set it in base"


def _is_container(document: Document, pointer: str) -> bool:
    try:
        return isinstance(get_value(document, pointer), dict | list)
    except UnknownPointer:
        return False


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Return a seed from 0 to 2**32 - 1 that depends on the seed of the sweep, a purpose and numbers."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
