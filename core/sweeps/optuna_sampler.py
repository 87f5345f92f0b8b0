"""Suggests parameters with the samplers of Optuna, in a study that is built from trials and exists in memory only."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as State
from pydantic import JsonValue

from core.sweeps.algorithms import GpSampler, TpeSampler
from core.sweeps.space import ChoiceParameter, IntParameter, ParameterSpec
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trial_spec import Choose
from core.sweeps.trials import Scores, SweepTrial, select_level

optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line in the log for every suggestion


def build_choose(sweep: SweepSpec, sampler: TpeSampler | GpSampler, trials: Sequence[SweepTrial], seed: int) -> Choose:
    """Return a function that chooses the value of a parameter. `trials` are sorted by number."""
    storage = optuna.storages.InMemoryStorage()
    # `optuna.create_study` would write a line to the log for every suggestion.
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "sweep")
    study = optuna.Study("sweep", storage, sampler=_build_sampler(sampler, seed, is_conditional=_is_conditional(sweep)))
    level = select_level(trials, sampler.startup_trials) if isinstance(sampler, GpSampler) else None
    results = _list_results(sweep, trials) if level is None else _list_results_at(level, sweep, trials)
    for trial, result in zip(trials, results, strict=True):
        storage.create_new_trial(study_id, _convert_trial(sweep, trial, result))
    open_trial = study.ask()

    def choose(pointer: str, parameter: ParameterSpec) -> JsonValue:
        value = open_trial._suggest(pointer, build_distribution(parameter))
        return parameter.get_value(value) if has_index(parameter) else value

    return choose


def _is_conditional(sweep: SweepSpec) -> bool:
    return any(parameter.when for parameter in sweep.space.values())


def _build_sampler(spec: TpeSampler | GpSampler, seed: int, *, is_conditional: bool) -> optuna.samplers.BaseSampler:
    if isinstance(spec, GpSampler):
        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=spec.startup_trials, warn_independent_sampling=False
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `group`
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=spec.startup_trials, group=is_conditional)


def _convert_trial(sweep: SweepSpec, trial: SweepTrial, result: dict[str, Any]) -> FrozenTrial:
    parameters = {pointer: sweep.space[pointer] for pointer in sorted(trial.parameters) if pointer in sweep.space}
    return create_trial(
        params={pointer: encode_index(each, trial.parameters[pointer]) for pointer, each in parameters.items()},
        distributions={pointer: build_distribution(each) for pointer, each in parameters.items()},
        **result,
    )


def _list_results(sweep: SweepSpec, trials: Sequence[SweepTrial]) -> Iterator[dict[str, Any]]:
    """Yield the states and scores for TPE, which ranks pruned trials by their epochs, then by their score.

    A trial that failed or was refused has no score, which TPE ranks last.
    """
    scores = Scores(sweep.objective)
    for trial in trials:
        losses = {epochs: scores.sign * score for epochs, score in trial.scores.items()}
        if trial.is_failed or trial.state is TrialState.REFUSED:
            yield {"state": State.PRUNED}
        elif trial.state is TrialState.SUCCEEDED and losses:
            yield {"state": State.COMPLETE, "value": losses[max(losses)]}
        elif losses:
            yield {"state": State.PRUNED, "intermediate_values": losses}
        else:
            yield {"state": State.FAIL if trial.state is TrialState.STOPPED else State.RUNNING}


def _list_results_at(level: int, sweep: SweepSpec, trials: Sequence[SweepTrial]) -> Iterator[dict[str, Any]]:
    """Yield the states and scores for a Gaussian process: the scores after `level` epochs.

    A trial that failed or was refused has the worst of them.
    """
    scores = Scores(sweep.objective)
    losses = [scores.get_loss(trial, level) for trial in trials]
    worst = max((loss for loss in losses if loss is not None and math.isfinite(loss)), default=None)
    for trial, loss in zip(trials, losses, strict=True):
        if (trial.is_failed or trial.state is TrialState.REFUSED) and worst is not None:
            yield {"state": State.COMPLETE, "value": worst}
        elif loss is not None and math.isfinite(loss):
            yield {"state": State.COMPLETE, "value": loss}
        else:
            yield {"state": State.RUNNING if trial.is_running else State.FAIL}


def has_index(parameter: ParameterSpec) -> bool:
    """Return whether the index of a value represents it in a study. Optuna distributes other numbers itself."""
    return isinstance(parameter, ChoiceParameter) or (parameter.num_values is not None and not parameter.log)


def encode_index(parameter: ParameterSpec, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the number that represents a value in a study. A number between two steps becomes the nearest step."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.find_index(value) or 0
    if not has_index(parameter):
        return min(max(value, parameter.low), parameter.high)
    count = parameter.num_values or 1
    return min(max(round((value - parameter.low) / (parameter.step or 1)), 0), count - 1)


def build_distribution(parameter: ParameterSpec) -> BaseDistribution:
    """Return the distribution of the numbers that represent the values of a parameter."""
    if isinstance(parameter, ChoiceParameter):
        return CategoricalDistribution(range(parameter.num_values))
    if has_index(parameter):
        return IntDistribution(0, (parameter.num_values or 1) - 1)
    if isinstance(parameter, IntParameter):
        return IntDistribution(parameter.low, parameter.high, log=True)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
