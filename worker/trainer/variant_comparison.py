"""Compares the accuracy and the throughput of a model and of its variants on the same samples."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.jobs import IMMEDIATE_STOP_MODES
from models import bundle
from models.variants import Runner
from worker.builders.evaluation import EvaluationSetup
from worker.engine.evaluation import Decisions, compute_probabilities, make_decisions
from worker.engine.metrics.factory import build_r2_score
from worker.engine.run import EvaluationInterrupted
from worker.protocol import TrainerAlive
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.channel import Channel
from worker.trainer.error_classification import AccuracyDropped

ROUNDS = 7
ROUND_S = 0.05
TIMED_BATCH = 32
Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]
Key = TypeVar("Key")


class Difference(Enum):
    """What can differ too much between a model and its variant."""

    ACCURACY = auto()
    DECISIONS = auto()


class Comparison(NamedTuple):
    """The accuracy of a model and of its variant on the same samples. For a regression, R squared is used instead.

    Attributes:
        before: the accuracy or R squared of the model.
        after: the accuracy or R squared of the variant.
        max_logit_difference: maximum absolute difference between the raw scores of the model and of the variant.
        agreement: the share of samples that both assign to the same class, 0..1; None for a regression.
    """

    before: float
    after: float
    max_logit_difference: float
    agreement: float | None

    @property
    def drop(self) -> float:
        return self.before - self.after

    def find_difference(self, max_drop: float) -> Difference | None:
        """Return what differs by more than `max_drop`, 0..1, if anything. NaN differs.

        A variant that errs on other samples than the model can have the same accuracy. A client that gets it without
        asking for it gets the classes of the model.
        """
        if not self.drop <= max_drop:
            return Difference.ACCURACY
        if self.agreement is not None and not self.agreement >= 1 - max_drop:
            return Difference.DECISIONS
        return None


class Throughput(NamedTuple):
    """The throughput of a runner in images per second: minimum, median and maximum of the rounds."""

    low: float
    median: float
    high: float


class _RunnerScores:
    """Collects the scores of one variant, batch by batch, until the variant fails."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._batches: list[Tensor] = []
        self._max_difference = 0.0
        self.error: Exception | None = None

    def add_batch(self, pixels: Pixels, model_scores: Scores) -> None:
        """Run the variant. An error is stored in `error`, and the variant is not run again."""
        if self.error is not None:
            return
        try:
            scores = self._run(pixels)
        except (OSError, MemoryError):  # of the machine, not of the variant
            raise
        except Exception as error:  # noqa: BLE001 - runtimes raise any exception
            self.error = error
            return
        if not np.isfinite(scores).all():
            self.error = AccuracyDropped("The variant's scores are not finite.", batch=len(self._batches) + 1)
            return
        self._max_difference = max(self._max_difference, float(np.abs(model_scores - scores).max()))
        self._batches.append(torch.from_numpy(scores))

    def compare(
        self, model_scores: Tensor, targets: Tensor, description: bundle.BundleDescription
    ) -> Comparison | Exception:
        """Return the comparison with the scores of the model, or the error of the variant."""
        if self.error is not None:
            return self.error
        scores = torch.cat(self._batches)
        before, after = (compute_score(raw, targets, description) for raw in (model_scores, scores))
        agreement = compute_agreement(model_scores, scores, targets, description)
        return Comparison(before, after, self._max_difference, agreement)


def compare_scores(
    model: Runner, runners: Mapping[Key, Runner], setup: EvaluationSetup, channel: Channel
) -> dict[Key, Comparison | Exception]:
    """Run the model and its variants on all samples of the split, and compare their accuracy.

    Returns:
        For each variant its comparison with the model, or the exception that it has raised: `AccuracyDropped` if a
        score is NaN or infinite.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    reporter = ProgressReporter(channel, len(setup.batches))
    collected = {key: _RunnerScores(run) for key, run in runners.items()}
    model_batches, targets = list[Tensor](), list[Tensor]()
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        check_stop_request(channel)
        pixels = batch.images.contiguous().numpy()
        model_scores = model(pixels)
        model_batches.append(torch.from_numpy(model_scores))
        targets.append(batch.targets)
        for scores in collected.values():
            check_stop_request(channel)
            scores.add_batch(pixels, model_scores)
        reporter.report_step(number)
    model_raw, truth = torch.cat(model_batches), torch.cat(targets)
    return {key: scores.compare(model_raw, truth, setup.description) for key, scores in collected.items()}


def measure_throughput(runners: Sequence[Runner], pixels: Pixels, before_round: Callable[[], None]) -> list[Throughput]:
    """Measure the throughput of each runner on the same batch.

    Each round measures all of them, so that a change of the machine's load changes all results. `before_round` is
    called before each round.
    """
    rates: list[list[float]] = [[] for _ in runners]
    for run in runners:
        before_round()
        run(pixels)  # warm-up, not measured: the first batch also selects kernels and allocates memory
    for _ in range(ROUNDS):
        before_round()
        for run, own in zip(runners, rates, strict=True):
            own.append(_measure_rate(run, pixels))
    return [Throughput(min(own), statistics.median(own), max(own)) for own in rates]


def describe_throughput(batch_size: int, before: Throughput, after: Throughput | None) -> dict[str, Any]:
    """Return the measured throughput of the model and of the variant as JSON. `after`: None if there is no variant."""
    return {
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "rounds": ROUNDS,
        "load_average": os.getloadavg()[0],
        "before_images_per_s": list(before),
        "after_images_per_s": None if after is None else list(after),
    }


def select_timed_batch(setup: EvaluationSetup) -> Pixels:
    """Return the images on which the throughput is measured: the first ones of the split."""
    pixels: Pixels = next(iter(setup.batches.iter_epoch(0))).images[:TIMED_BATCH].contiguous().numpy()
    return pixels


def compute_score(raw: Tensor, targets: Tensor, description: bundle.BundleDescription) -> float:
    """Return the accuracy, or R squared for a regression."""
    if description.task == "regression":
        r2_score = build_r2_score(description.num_outputs)
        r2_score.update(raw, targets)
        return float(r2_score.compute())
    decisions = _decide(raw, targets, description)
    return float((decisions.predicted == decisions.truth).double().mean())


def compute_agreement(
    first: Tensor, second: Tensor, targets: Tensor, description: bundle.BundleDescription
) -> float | None:
    """Return the share of samples for which two sets of raw scores decide the same; None for a regression."""
    if description.task == "regression":
        return None
    predicted = [_decide(raw, targets, description).predicted for raw in (first, second)]
    return float((predicted[0] == predicted[1]).double().mean())


def get_metric_name(description: bundle.BundleDescription) -> str:
    """Return the name of the metric that is compared."""
    return "r2" if description.task == "regression" else "accuracy"


def check_stop_request(channel: Channel) -> None:
    """Report that the trainer is running. Raises EvaluationInterrupted if a stop is requested."""
    channel.send(TrainerAlive())
    if channel.stop_mode in IMMEDIATE_STOP_MODES:
        raise EvaluationInterrupted


def _decide(raw: Tensor, targets: Tensor, description: bundle.BundleDescription) -> Decisions:
    return make_decisions(compute_probabilities(raw, description.task), targets, description.task)


def _measure_rate(run: Runner, pixels: Pixels) -> float:
    started_at, count = time.perf_counter(), 0
    while (elapsed_s := time.perf_counter() - started_at) < ROUND_S or not count:
        run(pixels)
        count += 1
    return count * len(pixels) / elapsed_s
