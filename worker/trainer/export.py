"""Exports a registered model as a variant, and compares the accuracy and throughput of the model and the variant."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.datasets.packed import PackedDataset
from core.datasets.splits import resolve_splits
from core.spec import VariantFormat, VariantSpec
from models import bundle, variants
from models.bundle import FileDigest
from models.variants import Runner
from models.variants.description import Precision
from worker.builders.evaluation import EvaluationSetup, build_evaluation
from worker.engine.device import Placement, choose_precision
from worker.protocol import JobCompleted, RunStarted
from worker.trainer.artifacts import to_file_digests
from worker.trainer.error_classification import AccuracyDropped
from worker.trainer.job_context import JobContext
from worker.trainer.variant_comparison import (
    Comparison,
    Throughput,
    check_stop_request,
    compare_scores,
    describe_throughput,
    get_metric_name,
    measure_throughput,
    select_timed_batch,
)

SELECTABLE_PRECISION = ("openvino", "torch-compile")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class VariantExporter:
    """Writes variants of the job's model.

    Attributes:
        setup: the samples on which the model and its variants are compared.
        packed: the dataset, whose training images calibrate `int8`.
        num_threads: number of threads of the runtimes.
    """

    spec: VariantSpec
    setup: EvaluationSetup
    packed: PackedDataset
    network: nn.Module
    description: bundle.BundleDescription
    num_threads: int

    def create_model_runner(self) -> Runner:
        """Create a runner of the trained network, as the service runs it on a CPU."""
        return variants.create_eager_runner(self.network, self.description)

    def write(self, kind: VariantFormat, folder: Path) -> dict[str, FileDigest]:
        """Write a variant into an empty folder. Return the sha256 and the size of each file."""
        calibration = self.calibration_images if kind == "int8" else None
        precision = choose_variant_precision(self.spec, kind)
        return variants.write_variant(
            folder, self.network, self.description, kind, precision=precision, calibration=calibration
        )

    def open_runner(self, folder: Path) -> Runner:
        """Load a variant that `write` has written."""
        return variants.open_runner(folder, threads=self.num_threads)

    @cached_property
    def calibration_images(self) -> Pixels:
        """Evenly spaced images of the training split, so that a split sorted by class contributes all its classes."""
        index = resolve_splits(self.packed, self.spec.dataset, self.spec.seed or 0).train_index
        count = min(self.spec.calibration_samples, len(index))
        selected = index[np.linspace(0, len(index) - 1, count, dtype=np.int64)]
        calibration_images: Pixels = self.packed.read_split("train").images[np.sort(selected)]
        return calibration_images

    def describe_variant(
        self, folder: Path, comparison: Comparison, before: Throughput, after: Throughput, batch_size: int
    ) -> dict[str, Any]:
        """Return the result of a job that stores the variant in a folder."""
        variant = variants.VariantDescription.model_validate_json((folder / variants.DESCRIPTION).read_bytes())
        is_calibrated = variant.format == "int8"
        return {
            "format": variant.format,
            "file": variants.DOWNLOADS[variant.format],
            **self.describe_evaluation(),
            **comparison._asdict(),
            "speed_ratio": after.median / before.median,
            "speed": describe_throughput(batch_size, before, after),
            "made_with": variant.made_with,
            "precision": variant.precision,
            "weight_bits": variant.weight_bits,
            "calibration_samples": len(self.calibration_images) if is_calibrated else None,
        }

    def describe_evaluation(self) -> dict[str, Any]:
        """Return on what the model and its variants are compared, and the accepted drop."""
        return {
            "split": self.spec.split,
            "num_samples": len(self.setup.names),
            "metric": get_metric_name(self.setup.description),
            "max_drop": self.spec.max_drop,
        }

    def build_metrics(self, result: dict[str, Any]) -> dict[str, float | str]:
        """Return the metrics of a job that stores a variant."""
        return {
            f"{self.spec.split}_{result['metric']}": result["after"],
            "speed_ratio": result["speed_ratio"],
        }


def prepare_export(spec: VariantSpec, context: JobContext) -> VariantExporter:
    """Load the model and the samples, and report the start of the job."""
    packed = context.open_dataset()
    cpu = Placement(torch.device("cpu"), "fp32", context.placement.threads)
    setup = build_evaluation(spec, (), packed, context.model_dir, cpu)
    sizes = {"num_parameters": setup.num_parameters, "splits": {spec.split: len(setup.names)}}
    context.channel.send(RunStarted(runtime=cpu.describe() | sizes))
    network, description = bundle.load_bundle(context.model_dir)
    return VariantExporter(spec, setup, packed, network, description, cpu.threads)


def make_variant(spec: VariantSpec, context: JobContext) -> JobCompleted:
    """Export the variant into the job's result folder, and compare the variant with the model.

    Raises:
        AccuracyDropped: the accuracy drops by more than the job's `max_drop`, or a score is NaN or infinite.
        EvaluationInterrupted: a stop is requested.
    """
    assert spec.format != "auto"  # noqa: S101 - `automatic_variant` runs these jobs
    channel, folder = context.channel, context.result_dir
    exporter = prepare_export(spec, context)
    folder.mkdir()
    files = exporter.write(spec.format, folder)
    check_stop_request(channel)
    model, variant = exporter.create_model_runner(), exporter.open_runner(folder)
    comparison = compare_scores(model, {spec.format: variant}, exporter.setup, channel)[spec.format]
    if isinstance(comparison, Exception):
        raise comparison
    _check_drop(spec, comparison)
    batch = select_timed_batch(exporter.setup)
    before, after = measure_throughput([model, variant], batch, lambda: check_stop_request(channel))
    result = exporter.describe_variant(folder, comparison, before, after, len(batch))
    metrics = exporter.build_metrics(result)
    return JobCompleted(result=result, metrics=metrics, dir=str(folder), files=to_file_digests(files))


def choose_variant_precision(spec: VariantSpec, kind: VariantFormat) -> Precision:
    """Return the precision of a variant. Only some formats have a choice."""
    if kind not in SELECTABLE_PRECISION:
        return "fp32"
    return "bf16" if choose_precision(spec.precision, torch.device("cpu")) == "bf16" else "fp32"


def _check_drop(spec: VariantSpec, comparison: Comparison) -> None:
    if comparison.drop > spec.max_drop:
        extra = {**comparison._asdict(), "max_drop": spec.max_drop, "format": spec.format}
        raise AccuracyDropped(
            f"The accuracy drops from {comparison.before:.4f} to {comparison.after:.4f}; "
            f"max_drop is {spec.max_drop:g}.",
            **extra,
        )
