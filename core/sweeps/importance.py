"""Estimates how much each parameter of a sweep matters for the score, and how certain the estimate is."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from core.sweeps.space import ParameterSpec
from core.sweeps.spec import SweepSpec
from core.sweeps.trials import Scores, SweepTrial, select_level

MIN_TRIALS = 10
MIN_OTHERS = 3  # trials outside of a bootstrap sample, for which the explained variance is defined
NUM_SAMPLES = 10
NUM_TREES = 64
INACTIVE = -1.0


class ParameterImportance(NamedTuple):
    """The importance of a parameter.

    Attributes:
        pointer: the JSON pointer of the parameter.
        importance: the share of this parameter in the importance of all, from 0 to 1.
        deviation: the standard deviation of the share over bootstrap samples of the trials.
    """

    pointer: str
    importance: float
    deviation: float


class ImportanceReport(NamedTuple):
    """The importance of all parameters.

    Attributes:
        epochs: the number of epochs after which the scores were compared.
        num_trials: the number of trials with a score at that epoch.
        explained: how much of the variance of the scores' ranks the parameters explain, in trials that were not used
            for the fit: up to 1. If it is 0 or less, the importances mean nothing.
        parameters: the most important parameter first.
    """

    epochs: int
    num_trials: int
    explained: float
    parameters: list[ParameterImportance]


def compute_importance(
    sweep: SweepSpec, trials: Iterable[SweepTrial], num_samples: int = NUM_SAMPLES
) -> ImportanceReport | None:
    """Compute the permutation importance of each parameter. None: fewer than `MIN_TRIALS` trials have a score.

    Random forests predict the ranks of the scores, so that a few very bad scores do not dominate. Each is fitted to a
    bootstrap sample, and the importance is the increase of its error when a parameter is permuted among the trials
    outside of the sample. A parameter that a trial does not have counts as a separate value. The result is the same for
    any order of the trials. Source: Breiman, "Random Forests", 2001, section 10.
    """
    rows = sorted(trials, key=lambda trial: trial.number)
    level = select_level(rows, MIN_TRIALS)
    scores = Scores(sweep.objective)
    rated = [(trial, scores.get_loss(trial, level)) for trial in rows] if level is not None else []
    finite = [(trial, loss) for trial, loss in rated if loss is not None and math.isfinite(loss)]
    if level is None or len(finite) < MIN_TRIALS:
        return None
    pointers = sorted(sweep.space)
    table = [[_encode(sweep.space[each], trial.parameters, each) for each in pointers] for trial, _ in finite]
    samples = [_measure_sample(table, [loss for _, loss in finite], seed) for seed in range(num_samples)]
    shares = [_normalize(increases) for _, increases in samples]
    parameters = [
        ParameterImportance(pointer, statistics.fmean(values), statistics.stdev(values) if num_samples > 1 else 0.0)
        for pointer, *values in zip(pointers, *shares, strict=True)
    ]
    parameters.sort(key=lambda each: (-each.importance, each.pointer))
    return ImportanceReport(level, len(finite), statistics.median(score for score, _ in samples), parameters)


def _encode(parameter: ParameterSpec, parameters: Any, pointer: str) -> float:  # noqa: ANN401 - a mapping of JSON values
    return parameter.to_unit(parameters[pointer]) if pointer in parameters else INACTIVE


def _measure_sample(table: Sequence[Sequence[float]], losses: Sequence[float], seed: int) -> tuple[float, list[float]]:
    """Fit a forest to a bootstrap sample. Return the explained variance, and the importances, in the other trials."""
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    features = np.asarray(table)
    ranks = np.argsort(np.argsort(np.asarray(losses), kind="stable"), kind="stable") / len(losses)
    generator = np.random.default_rng(seed)
    sample = generator.integers(len(losses), size=len(losses))
    while len(others := np.setdiff1d(np.arange(len(losses)), sample)) < MIN_OTHERS:
        sample = generator.integers(len(losses), size=len(losses))
    forest = RandomForestRegressor(NUM_TREES, random_state=seed, max_features=1.0).fit(features[sample], ranks[sample])
    result = permutation_importance(forest, features[others], ranks[others], n_repeats=5, random_state=seed)
    return float(forest.score(features[others], ranks[others])), [float(each) for each in result.importances_mean]


def _normalize(increases: Sequence[float]) -> list[float]:
    """Return shares that add up to 1. A negative increase is noise, and counts as 0."""
    positive = [max(each, 0.0) for each in increases]
    total = math.fsum(positive)
    return [each / total if total else 1 / len(positive) for each in positive]
