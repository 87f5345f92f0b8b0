"""Another form of a registered model, made and measured: how well it answers, how far off, and how quickly."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
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
from worker.engine.run import EvaluationInterrupted
from worker.protocol import JobCompleted, RunStarted, Start, TrainerAlive
from worker.trainer.callbacks import to_stored_files
from worker.trainer.channel import Channel
from worker.trainer.error_classification import AccuracyDropped
from worker.trainer.tuning import ProgressReporter

ROUNDS = 7
ROUND_S = 0.05
TIMED_BATCH = 32
OPEN_PRECISION = ("openvino", "torch-compile")
Pixels = NDArray[np.uint8]


class Comparison(NamedTuple):
    """A variant beside its model, on the same pictures."""

    before: float
    after: float
    max_logit_difference: float


class Throughput(NamedTuple):
    """Pictures a second: least, median and most of several rounds, both sides by turns."""

    batch_size: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]

    @property
    def speed_ratio(self) -> float:
        return self.after[1] / self.before[1]


def make_variant(start: Start, packed: PackedDataset, placement: Placement, channel: Channel) -> JobCompleted:
    """Write the variant's files, and hold them against the model.

    Raises:
        AccuracyDropped: it answers worse than the job allows.
        Interrupted: asked to leave on the way.
    """
    spec = start.spec
    assert isinstance(spec, VariantSpec)  # noqa: S101 - the caller's match
    assert start.model_dir is not None  # noqa: S101 - the supervisor gives it with this kind
    cpu = Placement(torch.device("cpu"), "fp32", placement.threads)
    setup = build_evaluation(spec, (), packed, Path(start.model_dir), cpu)
    channel.send(RunStarted(runtime=cpu.describe() | {"num_parameters": setup.num_parameters}))
    folder = Path(start.work_dir) / "answer"
    folder.mkdir()
    network, description = bundle.load_bundle(Path(start.model_dir))
    calibration = _select_calibration_images(spec, packed) if spec.format == "int8" else None
    precision = _choose_variant_precision(spec)
    files = variants.write_variant(
        folder, network, description, spec.format, precision=precision, calibration=calibration
    )
    _check_stop_request(channel)
    before, after = (
        variants.create_eager_runner(network, description),
        variants.open_runner(folder, threads=cpu.threads),
    )
    comparison = compare_scores(before, after, setup, channel)
    _check_drop(spec, comparison)
    batch = next(iter(setup.batches.iter_epoch(0))).images[:TIMED_BATCH].contiguous().numpy()
    speed = measure_throughput(before, after, batch, lambda: _check_stop_request(channel))
    result = _build_result(spec, setup, comparison, speed) | {
        "made_with": _read_description(folder).made_with,
        "precision": _read_description(folder).precision,
        "calibration_samples": None if calibration is None else len(calibration),
    }
    metrics: dict[str, float | str] = {
        f"{spec.split}_{result['metric']}": comparison.after,
        "speed_ratio": speed.speed_ratio,
    }
    return JobCompleted(result=result, metrics=metrics, dir=str(folder), files=to_stored_files(files))


def _read_description(folder: Path) -> variants.VariantDescription:
    return variants.VariantDescription.model_validate_json((folder / variants.DESCRIPTION).read_bytes())


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
    """Show both the whole split.

    Raises:
        AccuracyDropped: the variant's scores are not finite.
        Interrupted: asked to leave on the way.
    """
    reporter, max_difference = ProgressReporter(channel, len(setup.batches)), 0.0
    raw: tuple[list[Tensor], list[Tensor]] = ([], [])
    targets: list[Tensor] = []
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        _check_stop_request(channel)
        pixels = batch.images.contiguous().numpy()
        one, other = before(pixels), after(pixels)
        if not np.isfinite(other).all():
            raise AccuracyDropped("the variant's scores are not finite", batch=number)
        max_difference = max(max_difference, float(np.abs(one - other).max()))
        for scores, side in zip((one, other), raw, strict=True):
            side.append(torch.from_numpy(scores))
        targets.append(batch.targets)
        reporter.report_step(number)
    truth = torch.cat(targets)
    first, second = (_compute_score(torch.cat(side), truth, setup.description) for side in raw)
    return Comparison(first, second, max_difference)


def measure_throughput(before: Runner, after: Runner, pixels: Pixels, before_round: Callable[[], None]) -> Throughput:
    """Let both answer the same batch, by turns; `between` is called before every round."""
    sides: tuple[list[float], list[float]] = ([], [])
    for runner in (before, after):
        runner(pixels)  # the first batch of a size is slow: kernels are chosen, memory is taken
    for _ in range(ROUNDS):
        before_round()
        for runner, rates in zip((before, after), sides, strict=True):
            rates.append(_measure_rate(runner, pixels))
    slow, quick = ((min(rates), statistics.median(rates), max(rates)) for rates in sides)
    return Throughput(len(pixels), slow, quick)


def _measure_rate(runner: Runner, pixels: Pixels) -> float:
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < ROUND_S or not count:
        runner(pixels)
        count += 1
    return count * len(pixels) / passed


def _compute_score(raw: Tensor, targets: Tensor, description: bundle.BundleDescription) -> float:
    """The share of right decisions; of numbers 1 - (sum of squared errors) / (sum of squares about the mean)."""
    if description.task == "regression":
        truth = targets.double().reshape(raw.shape)
        spread = float((truth - truth.mean(dim=0)).square().sum())
        return 1.0 - float((raw.double() - truth).square().sum()) / max(spread, 1e-12)
    judged = make_decisions(compute_probabilities(raw, description.task), targets, description.task)
    return float((judged.predicted == judged.truth).double().mean())


def _check_drop(spec: VariantSpec, comparison: Comparison) -> None:
    drop = comparison.before - comparison.after
    if drop > spec.max_drop:
        extra = {**comparison._asdict(), "max_drop": spec.max_drop, "format": spec.format}
        raise AccuracyDropped(
            f"accuracy falls from {comparison.before:.4f} to {comparison.after:.4f}, and max_drop allows {spec.max_drop:g}",
            **extra,
        )


def _choose_variant_precision(spec: VariantSpec) -> Precision:
    if spec.format not in OPEN_PRECISION:
        return "fp32"
    return "bf16" if choose_precision(spec.precision, torch.device("cpu")) == "bf16" else "fp32"


def _select_calibration_images(spec: VariantSpec, packed: PackedDataset) -> Pixels:
    """Pictures from all over the training split, whose order is by class."""
    index = resolve_splits(packed, spec.dataset, spec.seed or 0).train_index
    selected = index[np.linspace(0, len(index) - 1, min(spec.calibration_samples, len(index)), dtype=np.int64)]
    calibration_images: Pixels = packed.read_split("train").images[np.sort(selected)]
    return calibration_images


def _check_stop_request(channel: Channel) -> None:
    channel.send(TrainerAlive())
    if channel.stop_mode in IMMEDIATE_STOP_MODES:
        raise EvaluationInterrupted
