"""Exports a registered model as a variant, and compares the accuracy and throughput of the model and the variant."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.datasets.packed import PackedDataset
from core.datasets.splits import resolve_splits
from core.jobs import IMMEDIATE_STOP_MODES
from core.spec import VariantSpec
from models import bundle, variants
from models.variants import Runner
from models.variants.description import Precision
from worker.builders.evaluation import EvaluationSetup, build_evaluation
from worker.engine.device import Placement, choose_precision
from worker.engine.evaluation import compute_probabilities, make_decisions
from worker.engine.metrics.factory import build_r2_score
from worker.engine.run import EvaluationInterrupted
from worker.protocol import JobCompleted, RunStarted, TrainerAlive
from worker.trainer.artifacts import to_file_digests
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.channel import Channel
from worker.trainer.error_classification import AccuracyDropped
from worker.trainer.job_context import JobContext

ROUNDS = 7
ROUND_S = 0.05
TIMED_BATCH = 32
SELECTABLE_PRECISION = ("openvino", "torch-compile")
Pixels = NDArray[np.uint8]


class Comparison(NamedTuple):
    """The accuracy of a model and of its variant on the same samples. For a regression, R squared is used instead.

    Attributes:
        before: the accuracy or R squared of the model.
        after: the accuracy or R squared of the variant.
        max_logit_difference: maximum absolute difference between the raw scores of the model and of the variant.
    """

    before: float
    after: float
    max_logit_difference: float


class Throughput(NamedTuple):
    """The throughput of a model and of its variant, measured in several rounds.

    Attributes:
        batch_size: number of images per batch.
        before: images per second of the model: minimum, median and maximum of the rounds.
        after: images per second of the variant: minimum, median and maximum of the rounds.
    """

    batch_size: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]

    @property
    def speed_ratio(self) -> float:
        return self.after[1] / self.before[1]


def make_variant(spec: VariantSpec, context: JobContext) -> JobCompleted:
    """Export the variant into the job's result folder, and compare the variant with the model.

    Raises:
        AccuracyDropped: the accuracy drops by more than the job's `max_drop`.
        EvaluationInterrupted: a stop is requested.
    """
    channel, packed, folder = context.channel, context.open_dataset(), context.result_dir
    cpu = Placement(torch.device("cpu"), "fp32", context.placement.threads)
    setup = build_evaluation(spec, (), packed, context.model_dir, cpu)
    sizes = {"num_parameters": setup.num_parameters, "splits": {spec.split: len(setup.names)}}
    channel.send(RunStarted(runtime=cpu.describe() | sizes))
    folder.mkdir()
    network, description = bundle.load_bundle(context.model_dir)
    calibration = _select_calibration_images(spec, packed) if spec.format == "int8" else None
    precision = _choose_variant_precision(spec)
    files = variants.write_variant(
        folder, network, description, spec.format, precision=precision, calibration=calibration
    )
    _check_stop_request(channel)
    before = variants.create_eager_runner(network, description)
    after = variants.open_runner(folder, threads=cpu.threads)
    comparison = compare_scores(before, after, setup, channel)
    _check_drop(spec, comparison)
    batch = next(iter(setup.batches.iter_epoch(0))).images[:TIMED_BATCH].contiguous().numpy()
    speed = measure_throughput(before, after, batch, lambda: _check_stop_request(channel))
    variant = variants.VariantDescription.model_validate_json((folder / variants.DESCRIPTION).read_bytes())
    result = _build_result(spec, setup, comparison, speed) | {
        "made_with": variant.made_with,
        "precision": variant.precision,
        "weight_bits": variant.weight_bits,
        "calibration_samples": None if calibration is None else len(calibration),
    }
    metrics: dict[str, float | str] = {
        f"{spec.split}_{result['metric']}": comparison.after,
        "speed_ratio": speed.speed_ratio,
    }
    return JobCompleted(result=result, metrics=metrics, dir=str(folder), files=to_file_digests(files))


def _build_result(
    spec: VariantSpec, setup: EvaluationSetup, comparison: Comparison, speed: Throughput
) -> dict[str, Any]:
    return {
        "format": spec.format,
        "file": variants.DOWNLOADS[spec.format],
        "split": spec.split,
        "num_samples": len(setup.names),
        "metric": "r2" if setup.description.task == "regression" else "accuracy",
        **comparison._asdict(),
        "max_drop": spec.max_drop,
        "speed_ratio": speed.speed_ratio,
        "speed": {
            "batch_size": speed.batch_size,
            "threads": torch.get_num_threads(),
            "rounds": ROUNDS,
            "load_average": os.getloadavg()[0],
            "before_images_per_s": list(speed.before),
            "after_images_per_s": list(speed.after),
        },
    }


def compare_scores(before: Runner, after: Runner, setup: EvaluationSetup, channel: Channel) -> Comparison:
    """Run the model (`before`) and the variant (`after`) on all samples of the split, and compare their accuracy.

    Raises:
        AccuracyDropped: a score of the variant is NaN or infinite.
        EvaluationInterrupted: a stop is requested.
    """
    reporter, max_difference = ProgressReporter(channel, len(setup.batches)), 0.0
    raw: tuple[list[Tensor], list[Tensor]] = ([], [])
    targets: list[Tensor] = []
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        _check_stop_request(channel)
        pixels = batch.images.contiguous().numpy()
        model_scores, variant_scores = before(pixels), after(pixels)
        if not np.isfinite(variant_scores).all():
            raise AccuracyDropped("The variant's scores are not finite.", batch=number)
        max_difference = max(max_difference, float(np.abs(model_scores - variant_scores).max()))
        for scores, side in zip((model_scores, variant_scores), raw, strict=True):
            side.append(torch.from_numpy(scores))
        targets.append(batch.targets)
        reporter.report_step(number)
    truth = torch.cat(targets)
    first, second = (_compute_score(torch.cat(side), truth, setup.description) for side in raw)
    return Comparison(first, second, max_difference)


def measure_throughput(before: Runner, after: Runner, pixels: Pixels, before_round: Callable[[], None]) -> Throughput:
    """Measure the throughput of the model (`before`) and of the variant (`after`) on the same batch.

    Each round measures both of them. `before_round` is called before each round.
    """
    sides: tuple[list[float], list[float]] = ([], [])
    for runner in (before, after):
        runner(pixels)  # warm-up, not measured: the first batch also selects kernels and allocates memory
    for _ in range(ROUNDS):
        before_round()
        for runner, rates in zip((before, after), sides, strict=True):
            rates.append(_measure_rate(runner, pixels))
    model_rates, variant_rates = ((min(rates), statistics.median(rates), max(rates)) for rates in sides)
    return Throughput(len(pixels), model_rates, variant_rates)


def _measure_rate(runner: Runner, pixels: Pixels) -> float:
    started_at, count = time.perf_counter(), 0
    while (elapsed_s := time.perf_counter() - started_at) < ROUND_S or not count:
        runner(pixels)
        count += 1
    return count * len(pixels) / elapsed_s


def _compute_score(raw: Tensor, targets: Tensor, description: bundle.BundleDescription) -> float:
    """Return the accuracy, or R squared for a regression."""
    if description.task == "regression":
        r2_score = build_r2_score(description.num_outputs)
        r2_score.update(raw, targets)
        return float(r2_score.compute())
    decisions = make_decisions(compute_probabilities(raw, description.task), targets, description.task)
    return float((decisions.predicted == decisions.truth).double().mean())


def _check_drop(spec: VariantSpec, comparison: Comparison) -> None:
    drop = comparison.before - comparison.after
    if drop > spec.max_drop:
        extra = {**comparison._asdict(), "max_drop": spec.max_drop, "format": spec.format}
        raise AccuracyDropped(
            f"The accuracy drops from {comparison.before:.4f} to {comparison.after:.4f}; "
            f"max_drop is {spec.max_drop:g}.",
            **extra,
        )


def _choose_variant_precision(spec: VariantSpec) -> Precision:
    if spec.format not in SELECTABLE_PRECISION:
        return "fp32"
    return "bf16" if choose_precision(spec.precision, torch.device("cpu")) == "bf16" else "fp32"


def _select_calibration_images(spec: VariantSpec, packed: PackedDataset) -> Pixels:
    """Return evenly spaced images of the training split, so that a split sorted by class contributes all classes."""
    index = resolve_splits(packed, spec.dataset, spec.seed or 0).train_index
    selected = index[np.linspace(0, len(index) - 1, min(spec.calibration_samples, len(index)), dtype=np.int64)]
    calibration_images: Pixels = packed.read_split("train").images[np.sort(selected)]
    return calibration_images


def _check_stop_request(channel: Channel) -> None:
    channel.send(TrainerAlive())
    if channel.stop_mode in IMMEDIATE_STOP_MODES:
        raise EvaluationInterrupted
