"""Chooses the variant that serves a model: the fastest one that is accurate enough and faster than the model."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from core.spec import VariantFormat
from models.variants import MissingPackage
from worker.trainer.error_classification import AccuracyDropped
from worker.trainer.variant_comparison import Comparison, Difference

MIN_SPEED_RATIO = 1.1
"""The smallest speed ratio of a variant that is chosen.

The median throughput of the same network, measured again, differs by several percent on a machine that does other work
too. A smaller gain could be such a difference, and a second set of files has its costs.
"""


class Outcome(StrEnum):
    """What became of a candidate."""

    CHOSEN = "chosen"
    SLOWER = "slower"
    ACCURACY_DROPPED = "accuracy_dropped"
    DECISIONS_DIFFER = "decisions_differ"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class VariantCandidate(NamedTuple):
    """A format that was tried.

    Attributes:
        comparison: the accuracy; None if the format could not be made or run.
        speed_ratio: median throughput relative to that of the model; None if it was not measured.
        error: the exception that the export or the runtime has raised, if any.
    """

    format: VariantFormat
    comparison: Comparison | None = None
    speed_ratio: float | None = None
    error: Exception | None = None

    def is_accurate(self, max_drop: float) -> bool:
        """Return whether the variant runs, and its accuracy and decisions differ by at most `max_drop`."""
        return self.comparison is not None and not self.comparison.find_difference(max_drop)


class CandidateReport(NamedTuple):
    """The outcome of a candidate, with a sentence that explains it."""

    candidate: VariantCandidate
    outcome: Outcome
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the job's result."""
        comparison = self.candidate.comparison
        return {
            "format": self.candidate.format,
            "outcome": self.outcome.value,
            "after": None if comparison is None else comparison.after,
            "max_logit_difference": None if comparison is None else comparison.max_logit_difference,
            "agreement": None if comparison is None else comparison.agreement,
            "speed_ratio": self.candidate.speed_ratio,
            "message": self.message,
        }


def choose_variant(candidates: Sequence[VariantCandidate], max_drop: float) -> VariantFormat | None:
    """Return the format of the fastest candidate that is accurate enough, or None if none is faster than the model.

    If two are equally fast, the first one is chosen.

    Args:
        candidates: the measured candidates.
        max_drop: the largest accepted decrease of the accuracy, and the largest share of different decisions, 0..1.
    """
    suitable = [
        (candidate.speed_ratio, candidate.format)
        for candidate in candidates
        if candidate.is_accurate(max_drop)
        and candidate.speed_ratio is not None
        and candidate.speed_ratio >= MIN_SPEED_RATIO
    ]
    return max(suitable, key=lambda entry: entry[0])[1] if suitable else None


def report_candidates(
    candidates: Sequence[VariantCandidate], chosen: VariantFormat | None, max_drop: float
) -> list[CandidateReport]:
    """Return the outcome of each candidate. `chosen` is the result of `choose_variant`."""
    return [CandidateReport(candidate, *_explain(candidate, chosen, max_drop)) for candidate in candidates]


def _explain(candidate: VariantCandidate, chosen: VariantFormat | None, max_drop: float) -> tuple[Outcome, str]:
    match candidate.error:
        case None:
            return _explain_measurements(candidate, chosen, max_drop)
        case MissingPackage() as error:
            return Outcome.UNAVAILABLE, f"Not available on this worker: {error}."
        case AccuracyDropped() as error:
            return Outcome.ACCURACY_DROPPED, str(error)
        case error:
            return Outcome.FAILED, f"Could not be made: {_summarize(error)}."


def _explain_measurements(
    candidate: VariantCandidate, chosen: VariantFormat | None, max_drop: float
) -> tuple[Outcome, str]:
    comparison, ratio = candidate.comparison, candidate.speed_ratio
    assert comparison is not None  # noqa: S101 - there was no error
    match comparison.find_difference(max_drop):
        case Difference.ACCURACY:
            accuracy = f"The accuracy drops from {comparison.before:.4f} to {comparison.after:.4f}"
            return Outcome.ACCURACY_DROPPED, f"{accuracy}; max_drop is {max_drop:g}."
        case Difference.DECISIONS:
            share = f"{comparison.agreement:.4f} of the samples get the same class as from the model"
            return Outcome.DECISIONS_DIFFER, f"Only {share}; with max_drop {max_drop:g}, {1 - max_drop:g} must."
        case None:
            pass
    speed = f"{ratio:.2f} times as fast as the model"
    if candidate.format == chosen:
        return Outcome.CHOSEN, f"The fastest variant: {speed}."
    if chosen is None or (ratio or 0.0) < MIN_SPEED_RATIO:
        return Outcome.SLOWER, f"Only {speed}; a variant must be at least {MIN_SPEED_RATIO:g} times as fast."
    return Outcome.SLOWER, f"{speed}, but {chosen} is faster."


def _summarize(error: Exception) -> str:
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line[:300]}".rstrip(". :")
