"""Suggests the parameters of the next trial: a function of the sweep and its earlier trials.

The random numbers of a suggestion depend only on the seed of the sweep and the number of the trial, so that the same
trials give the same suggestion whenever, and in whichever process, it is computed.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, assert_never

from pydantic import JsonValue

from core.sweeps.algorithms import GpSampler, GridSampler, QmcSampler, RandomSampler, TpeSampler
from core.sweeps.json_pointers import UnknownPointer, set_value
from core.sweeps.space import ChoiceParameter, ParameterSpec
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource
from core.sweeps.trial_spec import (
    Choose,
    build_base,
    choose_parameters,
    derive_seed,
    expand_parameter,
    is_active,
    sort_pointers,
)
from core.sweeps.trials import SweepTrial

MAX_GRID = 100_000
"""Maximum number of combinations of a grid."""


class Suggestion(NamedTuple):
    """The parameters of the next trial, and where they come from."""

    number: int
    parameters: dict[str, JsonValue]
    source: TrialSource


def suggest_parameters(sweep: SweepSpec, trials: Iterable[SweepTrial]) -> Suggestion | None:
    """Return the parameters of the next trial. None: the grid has no further combination.

    The order of `trials` has no influence. Trials of the field `first` come before all others. A refused trial counts
    as a trial: its number is not used again, so that the next suggestion is a different one.
    """
    rows = sorted(trials, key=lambda trial: trial.number)
    number = rows[-1].number + 1 if rows else 0
    num_first = sum(trial.source is TrialSource.FIRST for trial in rows)
    fixed = sweep.first[num_first] if num_first < len(sweep.first) else {}
    source = TrialSource.FIRST if num_first < len(sweep.first) else TrialSource.SAMPLER
    sampler = sweep.sampler
    position = sum(trial.source is TrialSource.SAMPLER for trial in rows)
    choose: Choose
    match sampler:
        case GridSampler() if source is TrialSource.SAMPLER:
            combination = next(islice(list_combinations(sweep, sampler.points), position, None), None)
            return None if combination is None else Suggestion(number, combination, source)
        case RandomSampler() | GridSampler():
            choose = _choose_randomly(derive_seed(sweep.seed, "parameters", number))
        case QmcSampler():
            choose = _choose_at(
                compute_sobol_point(len(sweep.space), sweep.seed, number), list(sort_pointers(sweep.space))
            )
        case TpeSampler() | GpSampler():
            from core.sweeps.optuna_sampler import build_choose

            choose = build_choose(sweep, sampler, rows, derive_seed(sweep.seed, "parameters", number))
        case _:
            assert_never(sampler)
    return Suggestion(number, choose_parameters(sweep, _prefer_fixed(fixed, choose)), source)


def _prefer_fixed(fixed: Mapping[str, JsonValue], choose: Choose) -> Choose:
    return lambda pointer, parameter: fixed[pointer] if pointer in fixed else choose(pointer, parameter)


def _choose_randomly(seed: int) -> Choose:
    generator = random.Random(seed)
    return lambda _, parameter: parameter.from_unit(generator.random())


def _choose_at(point: Sequence[float], pointers: Sequence[str]) -> Choose:
    positions = dict(zip(pointers, point, strict=True))
    return lambda pointer, parameter: parameter.from_unit(positions[pointer])


def compute_sobol_point(num_dimensions: int, seed: int, index: int) -> list[float]:
    """Return a point of a scrambled Sobol sequence, with coordinates from 0 to 1."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(num_dimensions, scramble=True, rng=derive_seed(seed, "sobol"))
    if index:
        sequence.fast_forward(index)
    return [float(position) for position in sequence.random(1)[0]]


def list_grid_values(parameter: ParameterSpec, points: int) -> list[JsonValue]:
    """Return the values of a parameter in a grid. A number has at most `points` values, and a choice all of them."""
    count = parameter.num_values
    if count is not None and (count <= points or isinstance(parameter, ChoiceParameter)):
        return [parameter.get_value(index) for index in range(count)]
    return list(dict.fromkeys(parameter.from_unit(index / (points - 1)) for index in range(points)))


def list_combinations(sweep: SweepSpec, points: int) -> Iterator[dict[str, JsonValue]]:
    """Yield the combinations of a grid. A parameter whose conditions are not met has no value in a combination."""
    pointers = sort_pointers(sweep.space)
    values = {pointer: list_grid_values(sweep.space[pointer], points) for pointer in pointers}

    def extend(
        index: int, document: dict[str, object], parameters: dict[str, JsonValue]
    ) -> Iterator[dict[str, JsonValue]]:
        if index == len(pointers):
            yield parameters
            return
        pointer = pointers[index]
        if not is_active(sweep.space[pointer], document):
            yield from extend(index + 1, document, parameters)
            return
        for value in values[pointer]:
            try:
                changed = set_value(document, pointer, expand_parameter(pointer, value))
            except UnknownPointer:
                changed = document
            yield from extend(index + 1, changed, {**parameters, pointer: value})

    return islice(extend(0, build_base(sweep), {}), MAX_GRID)
