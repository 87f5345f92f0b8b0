"""Population based training: which trials are replaced by copies of better ones, with which parameters.

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017, arXiv 1711.09846: truncation selection,
and the factors 0.8 and 1.2 of section 4.1.1. A generation is compared when all of its trials have reached the
milestone, so that the decisions do not depend on the speed of workers. The next one is smaller if callbacks end trials.
"""

import math
import random
from typing import NamedTuple

from pydantic import JsonValue

from core.sweeps.algorithms import PbtScheduler
from core.sweeps.decisions import PromoteTrial, StartTrial, StopTrial
from core.sweeps.progress import SweepProgress
from core.sweeps.space import NumericParameter, Parameters, ParameterSpec
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_spec import choose_parameters, derive_seed
from core.sweeps.trials import SweepTrial

FACTORS = (0.8, 1.2)


class Generation(NamedTuple):
    """The trials that have reached a milestone, or failed on the way, and what becomes of them.

    Attributes:
        epochs: the milestone.
        following: the next milestone.
        best: the trials that are copied, best first: those that wait at the milestone.
        worst: the trials that are replaced, best first.
        members: all trials, best first.
    """

    epochs: int
    following: int
    best: list[SweepTrial]
    worst: list[SweepTrial]
    members: list[SweepTrial]


def list_generations(progress: SweepProgress, scheduler: PbtScheduler) -> list[Generation]:
    """Return the complete generations except the last one, which is not compared."""
    ((bracket, trials),) = progress.brackets
    generations, expected = list[Generation](), scheduler.population
    for epochs, following in zip(bracket.milestones, bracket.milestones[1:], strict=False):
        members = [trial for trial in trials if trial.first_epoch < epochs <= trial.epochs]
        losses = {trial.number: _get_loss(progress, trial, epochs) for trial in members}
        if not members or len(members) < expected or None in losses.values():
            break
        members.sort(key=lambda trial: (losses[trial.number] or 0.0, trial.number))
        count = min(max(int(len(members) * scheduler.quantile), 1), len(members) // 2)
        num_failed = sum(loss == math.inf for loss in losses.values())
        worst = members[len(members) - max(count, num_failed) :]
        waiting = [trial for trial in members if _is_waiting(trial, epochs) and trial not in worst]
        generation = Generation(epochs, following, waiting[:count], worst, members)
        generations.append(generation)
        num_copies = len(worst) if can_copy(progress, generation) else count_copies(progress, epochs)
        expected = num_copies + sum(
            trial not in worst and (trial.epochs > epochs or _is_waiting(trial, epochs)) for trial in members
        )
    return generations


def can_copy(progress: SweepProgress, generation: Generation) -> bool:
    """Return whether a copy of one of the best trials can still start."""
    return bool(generation.best) and not progress.is_exhausted


def count_copies(progress: SweepProgress, epochs: int) -> int:
    """Return the number of copies that started from a checkpoint after these epochs."""
    return sum(trial.source is TrialSource.COPY and trial.first_epoch == epochs for trial in progress.trials)


def _is_waiting(trial: SweepTrial, epochs: int) -> bool:
    """Return whether a trial waits at a milestone, and so has its checkpoint. Callbacks may have ended others."""
    return trial.state is TrialState.PAUSED and trial.epochs == epochs


def _get_loss(progress: SweepProgress, trial: SweepTrial, epochs: int) -> float | None:
    loss = progress.scores.get_loss(trial, epochs)
    is_cancelled = loss is None and trial.state is TrialState.STOPPED
    return math.inf if is_cancelled else loss


def find_replaced(progress: SweepProgress, scheduler: PbtScheduler) -> StopTrial | None:
    """Return the decision to stop a trial that a copy replaces."""
    for generation in list_generations(progress, scheduler):
        for trial in generation.worst:
            if _is_waiting(trial, generation.epochs):
                return StopTrial(trial.number, "replaced")
    return None


def find_population_step(progress: SweepProgress, scheduler: PbtScheduler) -> StartTrial | PromoteTrial | None:
    """Return the decision to start a member, to copy one, or to continue one up to the next milestone.

    Copies come first: they start from a checkpoint that the copied trial replaces when it continues.
    """
    for generation in list_generations(progress, scheduler):
        cost = generation.following - generation.epochs
        if not progress.can_spend(cost):
            return None
        copies = count_copies(progress, generation.epochs)
        if copies < len(generation.worst) and can_copy(progress, generation):
            return _copy_trial(progress, scheduler, generation)
        for trial in generation.members:
            if _is_waiting(trial, generation.epochs):
                return PromoteTrial(trial.number, generation.following)
    first = progress.next_bracket.milestones[0]
    if progress.num_sampled < scheduler.population and progress.count_remaining(first):
        return StartTrial(progress.next_number, first)
    return None


def _copy_trial(progress: SweepProgress, scheduler: PbtScheduler, generation: Generation) -> StartTrial:
    generator = random.Random(derive_seed(progress.sweep.seed, "copy", progress.next_number))
    parent = generator.choice(generation.best)
    parameters = perturb_parameters(progress.sweep, parent.parameters, scheduler.resample, generator)
    return StartTrial(progress.next_number, generation.following, (parent.number, generation.epochs), parameters)


def perturb_parameters(
    sweep: SweepSpec, parameters: Parameters, resample: float, generator: random.Random
) -> dict[str, JsonValue]:
    """Return changed parameters. A parameter is random with the probability `resample`, and otherwise changed.

    A number is multiplied by 0.8 or 1.2, within its range. A choice stays the same.
    """

    def choose(pointer: str, parameter: ParameterSpec) -> JsonValue:
        is_random, position, factor = generator.random() < resample, generator.random(), generator.choice(FACTORS)
        value = parameters.get(pointer)
        if is_random or pointer not in parameters:
            return parameter.from_unit(position)
        if isinstance(parameter, NumericParameter) and isinstance(value, int | float):
            return parameter.find_nearest(value * factor)
        return value

    return choose_parameters(sweep, choose)
