"""Plans the rungs of a sweep: after how many epochs its trials are compared."""

from functools import lru_cache
from typing import NamedTuple, assert_never

from core.spec import JobSpec
from core.spec.milestones import MAX_MILESTONES
from core.sweeps.algorithms import AshaScheduler, HyperbandScheduler, MedianScheduler, NoScheduler, PbtScheduler
from core.sweeps.spec import SweepSpec


class Bracket(NamedTuple):
    """A set of trials that are compared with each other.

    Attributes:
        milestones: the numbers of epochs after which they are compared, in increasing order; the last is the maximum.
        share: how many of the trials of one round of all brackets belong to this one.
    """

    milestones: tuple[int, ...]
    share: int = 1


def get_max_epochs(sweep: SweepSpec) -> int:
    """Return the number of epochs of a trial that is never stopped."""
    epochs = sweep.base.get("epochs", JobSpec.model_fields["epochs"].get_default())
    return epochs if isinstance(epochs, int) and epochs > 0 else 1


def list_brackets(sweep: SweepSpec) -> list[Bracket]:
    """Return the brackets of a sweep. All schedulers but `hyperband` have one."""
    epochs, scheduler = get_max_epochs(sweep), sweep.scheduler
    match scheduler:
        case NoScheduler():
            return [Bracket((epochs,))]
        case MedianScheduler():
            return [Bracket(_list_regular(scheduler.min_epochs, scheduler.interval, epochs))]
        case PbtScheduler():
            return [Bracket(_list_regular(scheduler.interval, scheduler.interval, epochs))]
        case AshaScheduler():
            return [Bracket(list_rung_epochs(scheduler.min_epochs, scheduler.reduction, epochs))]
        case HyperbandScheduler():
            rungs, reduction = list_rung_epochs(scheduler.min_epochs, scheduler.reduction, epochs), scheduler.reduction
            # Hyperband, algorithm 1: bracket s has ceil((s_max + 1) / (s + 1) * reduction ** s) trials.
            last = len(rungs) - 1
            shares = [-(-len(rungs) * reduction**s // (s + 1)) for s in range(last, -1, -1)]
            return [Bracket(rungs[index:], share) for index, share in enumerate(shares)]
        case _:
            assert_never(scheduler)


def get_bracket_index(brackets: list[Bracket], number: int) -> int:
    """Return the index of the bracket of a trial: it depends on the number of the trial only."""
    turns = _list_turns(tuple(bracket.share for bracket in brackets))
    return turns[number % len(turns)]


@lru_cache
def _list_turns(shares: tuple[int, ...]) -> list[int]:
    """Return the indexes of the brackets of one round, in turn, so that few trials are in all brackets already."""
    turns = [((turn + 0.5) / share, index) for index, share in enumerate(shares) for turn in range(share)]
    return [index for _, index in sorted(turns)]


def get_milestones(sweep: SweepSpec, number: int) -> tuple[int, ...]:
    """Return the milestones of a trial."""
    brackets = list_brackets(sweep)
    return brackets[get_bracket_index(brackets, number)].milestones


def list_rung_epochs(min_epochs: int, reduction: int, max_epochs: int) -> tuple[int, ...]:
    """Return the epochs of the rungs: `min_epochs` times powers of `reduction`, and the maximum: 1, 3, 9, 27."""
    rungs = list[int]()
    epochs = min_epochs
    while epochs < max_epochs:
        rungs.append(epochs)
        epochs *= reduction
    return (*rungs, max_epochs)


def _list_regular(first: int, interval: int, max_epochs: int) -> tuple[int, ...]:
    """Return every `interval` epochs from `first`, and the maximum.

    A long training has a longer interval: at most `MAX_MILESTONES` milestones come before the maximum.
    """
    interval = max(interval, -(-(max_epochs - first) // MAX_MILESTONES))
    return (*range(first, max_epochs, interval), max_epochs)
