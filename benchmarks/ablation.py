"""Measures what each part of a recipe contributes: trains it whole, and without one part at a time.

    .venv/bin/python benchmarks/ablation.py examples/digits_98.yaml --dataset-dir PACKED
        [--parts whitening,lookahead] [--views mirror] [--seeds 0 1 2] [--epochs N] [--threads N]

Prints for each variant the minimum, median and maximum over the seeds of the validation accuracy of the result, and of
the CPU seconds of the training with its validation. Parts that the recipe does not have are left out. With --views, all
accuracies are with test-time augmentation, and one line is of the same networks without it.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.plain_training import Job  # noqa: E402 - the root comes first
from benchmarks.time_to_accuracy import add_options, format_range, read_recipe  # noqa: E402
from core.datasets.packed import PackedDataset  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from models.averaged_views import AveragedViews, Views  # noqa: E402
from worker.engine.device import build_placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.run import Run  # noqa: E402

Body = dict[str, Any]


class Result(NamedTuple):
    """The validation accuracies of a network, with and without test-time augmentation, and its CPU seconds."""

    accuracy: float
    accuracy_without_views: float
    processor_s: float


def replace_whitening(body: Body, num_channels: int) -> None:
    """Replace the whitening layer by a convolution of the same shape, all of whose weights are trained."""
    for layer in body["architecture"].get("layers", []):
        if layer["type"] == "whitening":
            kernel = layer.get("kernel", 3)
            layer.update(type="conv2d", out=2 * num_channels * kernel**2, kernel=kernel)
            _remove_callbacks(body, "freeze")  # it freezes the bias of the whitening layer


def remove_dirac(body: Body, _: int) -> None:
    for layer in body["architecture"].get("layers", []):
        if layer.get("init") == "dirac":
            del layer["init"]


def remove_lookahead(body: Body, _: int) -> None:
    _remove_callbacks(body, "lookahead")


def randomize_flips(body: Body, _: int) -> None:
    for transform in body["dataset"].get("train_transforms", []):
        if transform["name"] == "alternating_flip":
            transform["name"] = "horizontal_flip"


def remove_label_smoothing(body: Body, _: int) -> None:
    body.get("loss", {}).pop("label_smoothing", None)


def remove_bias_rate(body: Body, _: int) -> None:
    body["optimizer"].pop("groups", None)


def remove_schedule(body: Body, _: int) -> None:
    body.pop("schedule", None)


def _remove_callbacks(body: Body, name: str) -> None:
    body["callbacks"] = [each for each in body.get("callbacks", []) if each["name"] != name]


PARTS: dict[str, Callable[[Body, int], None]] = {
    "whitening": replace_whitening,
    "dirac": remove_dirac,
    "lookahead": remove_lookahead,
    "alternating flip": randomize_flips,
    "label smoothing": remove_label_smoothing,
    "bias learning rate": remove_bias_rate,
    "schedule": remove_schedule,
}


def build_variants(body: Body, num_channels: int, parts: list[str]) -> Iterator[tuple[str, Body]]:
    """Yield the whole recipe, and the recipe without each of the parts that it has."""
    yield "whole recipe", body
    for part in parts:
        variant = copy.deepcopy({"callbacks": [], **body})
        PARTS[part](variant, num_channels)
        if variant != {"callbacks": [], **body}:
            yield f"no {part}", variant


def train_variant(job: Job, views: Views | None) -> Result:
    run, started_at = job.build_run(), time.process_time()
    run.build_loop().fit(run.state)
    processor_s = time.process_time() - started_at
    run.load_best_weights()
    plain = _measure_accuracy(run)
    if views is None:
        return Result(plain, plain, processor_s)
    averaged = run.forward.copy_with_network(AveragedViews(run.network, views).eval())
    return Result(_measure_accuracy(replace(run, forward=averaged)), plain, processor_s)


def _measure_accuracy(run: Run) -> float:
    return float(replace(run, test_batches=None).evaluate()["valid"]["accuracy"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--parts", default=",".join(PARTS), help="default: %(default)s")
    parser.add_argument("--views", choices=get_args(Views), help="evaluate with test-time augmentation")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"{sorted(unknown)} must be of {list(PARTS)}")
    use_threads(options.threads)
    keep_freed_memory()
    packed = PackedDataset.open(options.dataset_dir)
    placement = build_placement("auto", options.precision, options.threads)
    body = read_recipe(options.recipe, packed, options.epochs)
    for name, variant in build_variants(body, packed.meta.image_shape[0], parts):
        specs = [JobSpec.model_validate(variant | {"seed": seed}) for seed in options.seeds]
        results = [train_variant(Job(spec, packed, placement), options.views) for spec in specs]
        print_line(name, [each.accuracy for each in results], results)
        if options.views and variant is body:
            print_line("no test-time augmentation", [each.accuracy_without_views for each in results], results)
    return 0


def print_line(name: str, accuracies: list[float], results: list[Result]) -> None:
    seconds = format_range([each.processor_s for each in results], 1)
    print(f"{name:26} {format_range(accuracies, 4)}   {seconds} CPU s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
