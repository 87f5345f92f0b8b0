"""Decides what a sweep does next: a function of the sweep and its trials, which are read in any order.

A caller applies the decision to the trials and calls the function again, until the decision is to wait or to finish.
"""

from collections.abc import Iterable, Iterator

from core.sweeps.algorithms import AshaScheduler, HyperbandScheduler, MedianScheduler, PbtScheduler
from core.sweeps.decisions import Decision, FinishSweep, PromoteTrial, StartTrial, StopTrial, Wait
from core.sweeps.halving import find_finalist, find_promotion, iterate_unpromotable
from core.sweeps.median import iterate_below_median
from core.sweeps.milestones import get_milestones
from core.sweeps.population import find_population_step, find_replaced
from core.sweeps.progress import SweepProgress
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trials import SweepTrial


def decide_next(
    sweep: SweepSpec, trials: Iterable[SweepTrial], *, elapsed_hours: float = 0.0, is_exhausted: bool = False
) -> Decision:
    """Return the next decision.

    Args:
        sweep: the sweep.
        trials: all trials, in any order.
        elapsed_hours: the hours since the sweep was started, without those during which it was paused.
        is_exhausted: whether the sampler has no further parameters, as `suggest_parameters` returned None. After
            `MAX_REFUSED` refused trials, no trial starts either.
    """
    progress = SweepProgress(sweep, trials, elapsed_hours, is_exhausted=is_exhausted)
    reason = progress.find_stop_reason()
    if reason is not None:
        return FinishSweep(reason)
    stop = next(_iterate_stops(progress), None)
    if stop is not None:
        return stop
    interrupted = progress.find_interrupted()
    if interrupted is not None and progress.has_time:
        return PromoteTrial(interrupted.number, interrupted.epochs) if progress.has_slot else Wait()
    step = _find_step(progress) if progress.has_slot else None
    return step or progress.wait_or_finish()


def _iterate_stops(progress: SweepProgress) -> Iterator[StopTrial]:
    """Yield the decisions to stop trials. They need no slot."""
    scheduler = progress.sweep.scheduler
    match scheduler:
        case AshaScheduler() | HyperbandScheduler():
            for bracket, trials in progress.brackets:
                for trial in iterate_unpromotable(progress, bracket, trials, scheduler.reduction):
                    yield StopTrial(trial.number, "cannot_be_promoted")
        case MedianScheduler():
            for trial in iterate_below_median(progress, scheduler):
                yield StopTrial(trial.number, "below_median")
        case PbtScheduler():
            replaced = find_replaced(progress, scheduler)
            if replaced is not None:
                yield replaced
        case _:
            return


def _find_step(progress: SweepProgress) -> Decision | None:
    """Return the decision to promote or to start a trial; None if there is none, or the budget does not allow it."""
    scheduler = progress.sweep.scheduler
    if isinstance(scheduler, PbtScheduler):
        return find_population_step(progress, scheduler)
    if isinstance(scheduler, AshaScheduler | HyperbandScheduler):
        for bracket, trials in progress.brackets:
            promotion = find_promotion(progress, bracket, trials, scheduler.reduction)
            if promotion is not None:
                return PromoteTrial(promotion[0].number, promotion[1])
    else:
        for trial in progress.trials:
            following = _find_following(progress, trial)
            if following is not None:
                return PromoteTrial(trial.number, following)
    first = progress.next_bracket.milestones[0]
    if progress.count_remaining(first):
        return StartTrial(progress.next_number, first)
    if progress.num_running:
        return None
    finalist = find_finalist(progress)
    return None if finalist is None else PromoteTrial(finalist[0].number, finalist[1])


def _find_following(progress: SweepProgress, trial: SweepTrial) -> int | None:
    """Return the next milestone of a waiting trial; None if it does not wait, or the budget has too few epochs."""
    if trial.state is not TrialState.PAUSED or trial.is_failed:
        return None
    milestones = get_milestones(progress.sweep, trial.number)
    following = next((epochs for epochs in milestones if epochs > trial.epochs), None)
    return following if following is not None and progress.can_spend(following - trial.epochs) else None
