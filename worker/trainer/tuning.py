"""The kinds of a job that leave no model: a learning rate found, a model evaluated, a split predicted."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from core.datasets.packed import PackedDataset
from core.datasets.splits import resolve_splits
from core.errors import InvalidSpec
from core.jobs import IMMEDIATE_STOP_MODES
from core.spec import AnyJobSpec, EvaluateSpec, JobSpec, LrFindSpec, TrainingSpec
from core.spec.callbacks import BatchSizeFinderSpec, CutmixSpec, GradientClipSpec, LookaheadSpec, MixupSpec
from core.spec.schedules import OneCycleSpec
from worker.builders import build_run
from worker.builders.evaluation import EvaluationSetup
from worker.engine import batch_size_finder as batch_sizes
from worker.engine import plots
from worker.engine.batch_size_finder import Trial, choose_batch_size, should_continue
from worker.engine.callback import Callback, CallbackHandler
from worker.engine.device import Placement, get_peak_memory_bytes
from worker.engine.distributed import DistributedContext
from worker.engine.evaluation import EvaluationReport
from worker.engine.lr_finder import LrFinderResult, LrSweep, find_lr
from worker.engine.run import EvaluationInterrupted, Run
from worker.engine.state import RunState
from worker.engine.steps import ValidStep
from worker.protocol import CurvePoint, JobCompleted, Metrics, RunProgress, Start, TrainerAlive
from worker.trainer.artifacts import Artifacts
from worker.trainer.callbacks import send_log, to_json_float, to_json_floats
from worker.trainer.channel import Channel
from worker.trainer.error_classification import classify_error
from worker.trainer.initial_state import load_initial_weights

STEP_CALLBACKS = GradientClipSpec | MixupSpec | CutmixSpec | LookaheadSpec  # what a step is made of
DEFAULT_LABELS = ("0", "1")


class ProgressReporter(Callback):
    """Tells how far the work is, twice a second at most (if `is_quiet`, only that it goes on); leaves when asked to."""

    def __init__(
        self,
        channel: Channel,
        steps: int,
        *,
        is_quiet: bool = False,
        every_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel, self._steps, self._is_quiet = channel, steps, is_quiet
        self._every_s, self._clock = every_s, clock
        self._started_at = clock()
        self._sent_at = -math.inf

    @property
    def is_stop_requested(self) -> bool:
        return self._channel.stop_mode in IMMEDIATE_STOP_MODES

    def on_train_batch_end(self, state: RunState) -> None:
        self.report_step(state.step)
        if self.is_stop_requested:
            state.interrupt()

    def report_step(self, step: int, points: tuple[CurvePoint, ...] = ()) -> None:
        """So many steps are made; with points, or at the end, at once."""
        if not points and step < self._steps and self._clock() - self._sent_at < self._every_s:
            return
        self._sent_at = self._clock()
        if self._is_quiet:
            self._channel.send(TrainerAlive())
            return
        eta_s = (self._sent_at - self._started_at) / step * (self._steps - step) if step else None
        progress = RunProgress(epoch=1, epochs=1, step=step, steps=self._steps, eta_seconds=eta_s)
        self._channel.send(Metrics(points=points, latest={}, progress=progress))


def get_lr_sweep(spec: AnyJobSpec) -> LrSweep:
    """The learning rates that a job asks to try; the usual ones for `max_lr: "auto"`."""
    if isinstance(spec, LrFindSpec):
        return LrSweep(spec.start_lr, spec.end_lr, spec.steps, spec.spacing)
    return LrSweep()


def build_sweep_spec(spec: TrainingSpec) -> JobSpec:
    """The training that a sweep goes through: as the job's, without a schedule and without what only observes."""
    shared = {name: getattr(spec, name) for name in TrainingSpec.model_fields if name != "kind"}
    step_callbacks = tuple(callback for callback in spec.callbacks if isinstance(callback, STEP_CALLBACKS))
    return JobSpec(**shared | {"schedule": None, "callbacks": step_callbacks, "metrics": ()})


def build_sweep_run(start: Start, packed: PackedDataset, placement: Placement) -> Run:
    """What a sweep is made on: a network of its own, which it spoils."""
    assert isinstance(start.spec, TrainingSpec)  # noqa: S101 - the caller's match
    return build_run(build_sweep_spec(start.spec), packed, placement, load_initial_weights(start))


def run_lr_sweep(run: Run, lr_sweep: LrSweep, reporter: ProgressReporter) -> LrFinderResult:
    """Try learning rates.

    Raises:
        Interrupted: asked to leave on the way.
    """
    curve = find_lr(run, lr_sweep, (reporter,))
    if reporter.is_stop_requested:
        raise EvaluationInterrupted
    return curve


def save_lr_curve(curve: LrFinderResult, artifacts: Artifacts, channel: Channel) -> None:
    """The curve as JSON and as a picture; without them the job goes on."""
    try:
        artifacts.save("lr_find.json", "application/json", json.dumps(curve.to_dict()).encode())
        image = plots.plot_lr_curve(curve.rates, curve.losses, curve.smoothed, curve.suggestion)
        artifacts.save("lr_find.png", plots.PNG, image)
    except Exception as error:  # noqa: BLE001 - whatever it was, the answer is there
        send_log(channel, f"The curve of learning rates could not be left as files: {error}", "warning")


def build_lr_result(run: Run, curve: LrFinderResult, channel: Channel) -> JobCompleted:
    """The curve and what it suggests, in the job's curves, too."""
    points = [
        CurvePoint(split="train", name=name, step=step, epoch=math.ceil(step / run.state.steps_per_epoch), value=value)
        for name, values in (("lr", curve.rates), ("step_loss", curve.losses), ("smoothed_loss", curve.smoothed))
        for step, value in enumerate(values, 1)
    ]
    ProgressReporter(channel, len(curve.rates)).report_step(len(curve.rates), tuple(points))
    if curve.suggestion is None:
        send_log(channel, "The loss fell at none of the learning rates: nothing can be suggested.", "warning")
    lowest = {} if curve.suggestion is None else {"suggested_lr": curve.suggestion}
    return JobCompleted(result=curve.to_dict(), metrics=to_json_floats(lowest))


def tune_job(
    start: Start, packed: PackedDataset, placement: Placement, channel: Channel, metadata: Mapping[str, Any]
) -> tuple[JobSpec, dict[str, Any]]:
    """The job with numbers where it leaves them to be found, and what is to be remembered of how they were.

    `words` are those of the snapshot that a resumed run goes on from: what it remembers is not looked for again.

    Raises:
        InvalidSpec: there is none.
        Interrupted: asked to leave on the way.
    """
    spec, size = tune_batch_size(start, packed, placement, channel, metadata.get("batch_size"))
    start = start.model_copy(update={"spec": spec})
    spec, rate = tune_lr(start, packed, placement, channel, metadata.get("lr_find"))
    return spec, size | rate


def tune_batch_size(
    start: Start, packed: PackedDataset, placement: Placement, channel: Channel, previous: dict[str, Any] | None
) -> tuple[JobSpec, dict[str, Any]]:
    spec = start.spec
    assert isinstance(spec, JobSpec)  # noqa: S101 - the caller's match
    finder = next((callback for callback in spec.callbacks if isinstance(callback, BatchSizeFinderSpec)), None)
    if finder is None:
        return spec, {}
    if previous is None:
        trials: list[Trial] = []
        size = spec.batch_size
        while not trials or (size <= _get_max_batch_size(finder, spec, packed, placement) and should_continue(trials)):
            trials.append(Trial(size, _measure_batch_size(start, size, finder.steps, packed, placement, channel)))
            size *= 2
        selected = choose_batch_size(trials, finder.choose)
        if selected is None:
            raise InvalidSpec(f"batch_size {spec.batch_size}: not even this size fits into memory; give a smaller one")
        previous = batch_sizes.to_dict(trials, selected)
        send_log(
            channel, f"batch_size is {selected} as 'batch_size_finder' found, instead of {spec.batch_size}.", "warning"
        )
    other_callbacks = tuple(callback for callback in spec.callbacks if callback != finder)
    return spec.model_copy(update={"batch_size": previous["chosen"], "callbacks": other_callbacks}), {
        "batch_size": previous
    }


def _get_max_batch_size(finder: BatchSizeFinderSpec, spec: JobSpec, packed: PackedDataset, placement: Placement) -> int:
    """The largest size that makes sense: with full batches, and on a CPU, which cannot say no, with memory to spare."""
    num_train = len(resolve_splits(packed, spec.dataset, spec.seed).train_index)
    has_room = placement.device.type != "cpu" or 2 * get_peak_memory_bytes() < batch_sizes.get_host_memory_bytes()
    return min(finder.max_size, num_train // spec.accumulate_batches) if has_room else 0


def _measure_batch_size(
    start: Start, size: int, steps: int, packed: PackedDataset, placement: Placement, channel: Channel
) -> float | None:
    """Samples a second; None if the size does not fit into memory."""
    assert isinstance(start.spec, TrainingSpec)  # noqa: S101 - the caller's match
    changes = {"batch_size": size, "on_oom": "fail"}
    reporter, spec = (
        ProgressReporter(channel, steps, is_quiet=True),
        build_sweep_spec(start.spec).model_copy(update=changes),
    )
    try:
        run = build_run(spec, packed, placement, load_initial_weights(start))
        speed = batch_sizes.measure_samples_per_s(run, steps, (reporter,))
    except (RuntimeError, MemoryError) as error:
        if classify_error(error, spec).code not in {"gpu_out_of_memory", "host_out_of_memory"}:
            raise
        torch.cuda.empty_cache()  # nothing where there is no GPU
        return None
    if reporter.is_stop_requested:
        raise EvaluationInterrupted
    return speed


def tune_lr(
    start: Start, packed: PackedDataset, placement: Placement, channel: Channel, previous: dict[str, Any] | None
) -> tuple[JobSpec, dict[str, Any]]:
    """The job with a number where it says `max_lr: "auto"`, and what is to be remembered of how it was found.

    `known` is what was remembered by an earlier attempt: a resumed run does not look again.

    Raises:
        InvalidSpec: the loss fell at none of the learning rates.
        Interrupted: asked to leave on the way.
    """
    spec = start.spec
    assert isinstance(spec, JobSpec)  # noqa: S101 - the caller's match
    if not isinstance(spec.schedule, OneCycleSpec) or spec.schedule.max_lr != "auto":
        return spec, {}
    if previous is None:
        lr_sweep = get_lr_sweep(spec)
        curve = run_lr_sweep(
            build_sweep_run(start, packed, placement),
            lr_sweep,
            ProgressReporter(channel, lr_sweep.steps, is_quiet=True),
        )
        save_lr_curve(curve, Artifacts(channel, Path(start.work_dir) / "lr_find"), channel)
        previous = {name: value for name, value in curve.to_dict().items() if name != "points"}
        if curve.suggestion is None:
            raise InvalidSpec("max_lr 'auto': the loss fell at none of the learning rates; give a number")
        send_log(channel, f"max_lr 'auto' is {curve.suggestion:.3g}, a tenth of where the loss was lowest.", "warning")
    previous = previous | {"suggestion": DistributedContext().broadcast(previous["suggestion"])}
    schedule = spec.schedule.model_copy(update={"max_lr": previous["suggestion"]})
    return spec.model_copy(update={"schedule": schedule}), {"lr_find": previous}


def evaluate_model(spec: EvaluateSpec, setup: EvaluationSetup, channel: Channel) -> JobCompleted:
    """Measure a registered model on a split.

    Raises:
        Interrupted: asked to leave on the way.
    """
    description = setup.description
    report = EvaluationReport(description.task, description.num_outputs, spec.num_bins)
    step, state = (
        ValidStep(setup.forward, setup.accumulator, CallbackHandler()),
        RunState(max_epochs=0, steps_per_epoch=0),
    )
    reporter = ProgressReporter(channel, len(setup.batches))
    step.start_phase()
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        if reporter.is_stop_requested:
            raise EvaluationInterrupted
        step(batch, state)
        assert state.pred is not None  # noqa: S101 - just made
        report.update(state.pred, batch.targets)
        reporter.report_step(number)
    values = setup.accumulator.compute_values()
    summary = {"split": spec.split, "num_samples": len(setup.names), "metrics": to_json_floats(values)}
    labels = list(description.classes or DEFAULT_LABELS)
    tables = {name: table for name, table in setup.accumulator.compute_tables().items() if name != "confusion_matrix"}
    return JobCompleted(
        result=summary | tables | report.to_dict(labels),
        metrics={f"{spec.split}_{name}": to_json_float(value) for name, value in values.items()},
    )
