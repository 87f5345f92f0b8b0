"""The kinds of a job that leave no model: a learning rate found, a model evaluated, a split predicted."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from core.datasets.packed import Packed
from core.datasets.splits import resolve
from core.errors import InvalidSpec
from core.spec import AnyJobSpec, EvaluateSpec, JobSpec, LrFindSpec, TrainingSpec
from core.spec.callbacks import BatchSizeFinderSpec, CutmixSpec, GradientClipSpec, LookaheadSpec, MixupSpec
from core.spec.schedules import OneCycleSpec
from worker.builders import build_run
from worker.builders.evaluation import EvaluationSetup
from worker.engine import batch_size_finder as batch_sizes
from worker.engine import plots
from worker.engine.batch_size_finder import Trial, choose, should_continue
from worker.engine.callback import Callback, CallbackHandler
from worker.engine.device import Placement, peak_memory_bytes
from worker.engine.distributed import DistributedContext
from worker.engine.evaluation import EvaluationReport
from worker.engine.lr_finder import LrFinderResult, LrSweep, find_lr
from worker.engine.run import Interrupted, Run
from worker.engine.state import RunState
from worker.engine.steps import ValidStep
from worker.protocol import Alive, Answered, Metrics, Point, Progress, Start
from worker.trainer.artifacts import Artifacts
from worker.trainer.callbacks import json_float, json_floats, log
from worker.trainer.channel import Channel
from worker.trainer.error_classification import classify
from worker.trainer.initial_state import load_initial_weights

STOPPING_MODES = frozenset({"cancel", "pause", "preempt"})
STEP_CALLBACKS = GradientClipSpec | MixupSpec | CutmixSpec | LookaheadSpec  # what a step is made of
LABELS_OF_NOBODY = ("0", "1")


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
        self._began = clock()
        self._said = -math.inf

    @property
    def is_leaving(self) -> bool:
        return self._channel.stop_mode in STOPPING_MODES

    def on_train_batch_end(self, state: RunState) -> None:
        self.tell(state.step)
        if self.is_leaving:
            state.interrupt()

    def tell(self, step: int, points: tuple[Point, ...] = ()) -> None:
        """So many steps are made; with points, or at the end, at once."""
        if not points and step < self._steps and self._clock() - self._said < self._every_s:
            return
        self._said = self._clock()
        if self._is_quiet:
            self._channel.send(Alive())
            return
        left_s = (self._said - self._began) / step * (self._steps - step) if step else None
        progress = Progress(epoch=1, epochs=1, step=step, steps=self._steps, eta_seconds=left_s)
        self._channel.send(Metrics(points=points, latest={}, progress=progress))


def sweep_config(spec: AnyJobSpec) -> LrSweep:
    """The learning rates that a job asks to try; the usual ones for `max_lr: "auto"`."""
    if isinstance(spec, LrFindSpec):
        return LrSweep(spec.start_lr, spec.end_lr, spec.steps, spec.spacing)
    return LrSweep()


def sweep_job_spec(spec: TrainingSpec) -> JobSpec:
    """The training that a sweep goes through: as the job's, without a schedule and without what only observes."""
    shared = {name: getattr(spec, name) for name in TrainingSpec.model_fields if name != "kind"}
    kept = tuple(callback for callback in spec.callbacks if isinstance(callback, STEP_CALLBACKS))
    return JobSpec(**shared | {"schedule": None, "callbacks": kept, "metrics": ()})


def build_sweep_run(start: Start, packed: Packed, placement: Placement) -> Run:
    """What a sweep is made on: a network of its own, which it spoils."""
    assert isinstance(start.spec, TrainingSpec)  # noqa: S101 - the caller's match
    return build_run(sweep_job_spec(start.spec), packed, placement, load_initial_weights(start))


def sweep(run: Run, asked: LrSweep, pace: ProgressReporter) -> LrFinderResult:
    """Try learning rates.

    Raises:
        Interrupted: asked to leave on the way.
    """
    curve = find_lr(run, asked, (pace,))
    if pace.is_leaving:
        raise Interrupted
    return curve


def save_lr_curve(curve: LrFinderResult, artifacts: Artifacts, channel: Channel) -> None:
    """The curve as JSON and as a picture; without them the job goes on."""
    try:
        artifacts.save("lr_find.json", "application/json", json.dumps(curve.to_dict()).encode())
        image = plots.lr_curve(curve.rates, curve.losses, curve.smoothed, curve.suggestion)
        artifacts.save("lr_find.png", plots.PNG, image)
    except Exception as error:  # noqa: BLE001 - whatever it was, the answer is there
        log(channel, f"The curve of learning rates could not be left as files: {error}", "warning")


def lr_find_result(run: Run, curve: LrFinderResult, channel: Channel) -> Answered:
    """The curve and what it suggests, in the job's curves, too."""
    points = [
        Point(split="train", name=name, step=step, epoch=math.ceil(step / run.state.steps_per_epoch), value=value)
        for name, values in (("lr", curve.rates), ("step_loss", curve.losses), ("smoothed_loss", curve.smoothed))
        for step, value in enumerate(values, 1)
    ]
    ProgressReporter(channel, len(curve.rates)).tell(len(curve.rates), tuple(points))
    if curve.suggestion is None:
        log(channel, "The loss fell at none of the learning rates: nothing can be suggested.", "warning")
    lowest = {} if curve.suggestion is None else {"suggested_lr": curve.suggestion}
    return Answered(result=curve.to_dict(), metrics=json_floats(lowest))


def tune(
    start: Start, packed: Packed, placement: Placement, channel: Channel, words: Mapping[str, Any]
) -> tuple[JobSpec, dict[str, Any]]:
    """The job with numbers where it leaves them to be found, and what is to be remembered of how they were.

    `words` are those of the snapshot that a resumed run goes on from: what it remembers is not looked for again.

    Raises:
        InvalidSpec: there is none.
        Interrupted: asked to leave on the way.
    """
    spec, size = tune_batch_size(start, packed, placement, channel, words.get("batch_size"))
    start = start.model_copy(update={"spec": spec})
    spec, rate = tune_lr(start, packed, placement, channel, words.get("lr_find"))
    return spec, size | rate


def tune_batch_size(
    start: Start, packed: Packed, placement: Placement, channel: Channel, known: dict[str, Any] | None
) -> tuple[JobSpec, dict[str, Any]]:
    spec = start.spec
    assert isinstance(spec, JobSpec)  # noqa: S101 - the caller's match
    asked = next((callback for callback in spec.callbacks if isinstance(callback, BatchSizeFinderSpec)), None)
    if asked is None:
        return spec, {}
    if known is None:
        trials: list[Trial] = []
        size = spec.batch_size
        while not trials or (size <= _most(asked, spec, packed, placement) and should_continue(trials)):
            trials.append(Trial(size, _speed(start, size, asked.steps, packed, placement, channel)))
            size *= 2
        chosen = choose(trials, asked.choose)
        if chosen is None:
            raise InvalidSpec(f"batch_size {spec.batch_size}: not even this size fits into memory; give a smaller one")
        known = batch_sizes.to_dict(trials, chosen)
        log(channel, f"batch_size is {chosen} as 'batch_size_finder' found, instead of {spec.batch_size}.", "warning")
    kept = tuple(callback for callback in spec.callbacks if callback != asked)
    return spec.model_copy(update={"batch_size": known["chosen"], "callbacks": kept}), {"batch_size": known}


def _most(asked: BatchSizeFinderSpec, spec: JobSpec, packed: Packed, placement: Placement) -> int:
    """The largest size that makes sense: with full batches, and on a CPU, which cannot say no, with memory to spare."""
    num_train = len(resolve(packed, spec.dataset, spec.seed).train_index)
    has_room = placement.device.type != "cpu" or 2 * peak_memory_bytes() < batch_sizes.host_memory_bytes()
    return min(asked.max_size, num_train // spec.accumulate_batches) if has_room else 0


def _speed(start: Start, size: int, steps: int, packed: Packed, placement: Placement, channel: Channel) -> float | None:
    """Samples a second; None if the size does not fit into memory."""
    assert isinstance(start.spec, TrainingSpec)  # noqa: S101 - the caller's match
    changes = {"batch_size": size, "on_oom": "fail"}
    pace, spec = ProgressReporter(channel, steps, is_quiet=True), sweep_job_spec(start.spec).model_copy(update=changes)
    try:
        run = build_run(spec, packed, placement, load_initial_weights(start))
        speed = batch_sizes.samples_per_s(run, steps, (pace,))
    except (RuntimeError, MemoryError) as error:
        if classify(error, spec).code not in {"gpu_out_of_memory", "host_out_of_memory"}:
            raise
        torch.cuda.empty_cache()  # nothing where there is no GPU
        return None
    if pace.is_leaving:
        raise Interrupted
    return speed


def tune_lr(
    start: Start, packed: Packed, placement: Placement, channel: Channel, known: dict[str, Any] | None
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
    if known is None:
        asked = sweep_config(spec)
        curve = sweep(
            build_sweep_run(start, packed, placement), asked, ProgressReporter(channel, asked.steps, is_quiet=True)
        )
        save_lr_curve(curve, Artifacts(channel, Path(start.work_dir) / "lr_find"), channel)
        known = {name: value for name, value in curve.to_dict().items() if name != "points"}
        if curve.suggestion is None:
            raise InvalidSpec("max_lr 'auto': the loss fell at none of the learning rates; give a number")
        log(channel, f"max_lr 'auto' is {curve.suggestion:.3g}, a tenth of where the loss was lowest.", "warning")
    known = known | {"suggestion": DistributedContext().broadcast(known["suggestion"])}
    schedule = spec.schedule.model_copy(update={"max_lr": known["suggestion"]})
    return spec.model_copy(update={"schedule": schedule}), {"lr_find": known}


def evaluate(spec: EvaluateSpec, shown: EvaluationSetup, channel: Channel) -> Answered:
    """Measure a registered model on a split.

    Raises:
        Interrupted: asked to leave on the way.
    """
    description = shown.description
    report = EvaluationReport(description.task, description.num_outputs, spec.num_bins)
    step, state = ValidStep(shown.forward, shown.tally, CallbackHandler()), RunState(max_epochs=0, steps_per_epoch=0)
    pace = ProgressReporter(channel, len(shown.batches))
    step.begin()
    for number, batch in enumerate(shown.batches.epoch(0), 1):
        if pace.is_leaving:
            raise Interrupted
        step(batch, state)
        assert state.pred is not None  # noqa: S101 - just made
        report.update(state.pred, batch.targets)
        pace.tell(number)
    values = shown.tally.values()
    told = {"split": spec.split, "num_samples": len(shown.names), "metrics": json_floats(values)}
    labels = list(description.classes or LABELS_OF_NOBODY)
    tables = {name: table for name, table in shown.tally.tables().items() if name != "confusion_matrix"}
    return Answered(
        result=told | tables | report.to_dict(labels),
        metrics={f"{spec.split}_{name}": json_float(value) for name, value in values.items()},
    )
