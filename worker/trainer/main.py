"""`python -m worker.trainer`: spec in, messages out; it needs no queue and no database."""

import signal
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import nn

from core.datasets.packed import Packed
from core.process_tuning import TRAIN, set_niceness
from core.spec import EvaluateSpec, JobSpec, LrFindSpec, PredictArchiveSpec, PredictSpec, VariantSpec
from models import bundle
from worker.builders import build_run
from worker.builders.bundle_metadata import describe
from worker.builders.evaluation import build_evaluation
from worker.engine import snapshot
from worker.engine.device import Placement, Unavailable, keep_freed_memory, place, use_device, use_threads
from worker.engine.distributed import DistributedContext
from worker.engine.run import Interrupted, Run
from worker.engine.snapshot_checksums import BadSnapshot
from worker.protocol import EXIT_STOPPED, Answered, Finished, Start, Started, Stopped
from worker.trainer import cli, tuning
from worker.trainer.artifacts import Artifacts
from worker.trainer.batch_predict import predict, predict_archive
from worker.trainer.callbacks import (
    CheckpointCallback,
    CompileTimeCallback,
    KeepAliveCallback,
    MetricsCallback,
    StopRequestCallback,
    json_floats,
    log,
    to_stored_files,
)
from worker.trainer.channel import STDIN, Channel, preempt_on_signal, take_over_stdout
from worker.trainer.error_classification import WrongDataset, classify
from worker.trainer.export import make_variant
from worker.trainer.initial_state import load_initial_weights, restore_from_checkpoint
from worker.trainer.launcher import launch, num_ranks

MAX_NAMES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Train once; the exit status is 0 when finished, 75 when stopped as asked, 1 when failed."""
    options = cli.parser().parse_args(arguments)
    channel = Channel(take_over_stdout())
    keep_freed_memory()
    if options.spec is not None:
        preempt_on_signal(channel, signal.SIGTERM, signal.SIGINT)
        try:
            start = cli.start_message_from_args(options, partial(log, channel, level="warning"))
        except BadSnapshot as error:
            channel.send_final(classify(error, None))
            return 1
        return launch_or_run(start, channel)
    set_niceness(TRAIN)
    channel.listen(STDIN)
    warm_up()
    start = channel.wait_for_start()
    preempt_on_signal(channel, signal.SIGTERM)  # a standby has nothing to save: before that the signal just ends it
    return launch_or_run(start, channel)


def launch_or_run(start: Start, channel: Channel) -> int:
    """Train here, or with as many processes as the job asks for."""
    if num_ranks(start.spec) == 1:
        return run_job(start, channel)
    try:
        return launch(start, channel, run_job)
    except Unavailable as error:
        channel.send_final(classify(error, start.spec))
        return 1


def run_job(start: Start, channel: Channel, *, snapshot_every_s: float = 60.0) -> int:
    """Train, and say how it ended."""
    try:
        message = train(start, channel, snapshot_every_s=snapshot_every_s)
    except Exception as error:  # noqa: BLE001 - whatever it was, the supervisor is told
        log(channel, traceback.format_exc(), "error")
        channel.send_final(classify(error, start.spec, Path(start.dataset_dir)))
        return 1
    if message is None:
        return 0
    channel.send_final(message)
    return EXIT_STOPPED if isinstance(message, Stopped) else 0


def train(start: Start, channel: Channel, *, snapshot_every_s: float = 60.0) -> Finished | Answered | Stopped | None:
    """From the spec to what its kind of job leaves, or to an early end where somebody asked to leave."""
    if isinstance(start.spec, PredictArchiveSpec):
        try:
            return predict_archive(start, choose_placement(start, channel), channel)
        except Interrupted:
            return _stopped(channel)
    packed = Packed.open(Path(start.dataset_dir))
    expected = start.dataset.get("content_hash")
    if expected is not None and packed.meta.content_hash != expected:
        raise WrongDataset(f"the dataset's content is {packed.meta.content_hash}, not {expected}")
    placement = choose_placement(start, channel)
    use_threads(placement.threads)
    use_device(placement.device)
    try:
        match start.spec:
            case JobSpec():
                return fit(start, packed, placement, channel, snapshot_every_s)
            case LrFindSpec():
                return find_lr(start, packed, placement, channel)
            case EvaluateSpec() | PredictSpec():
                return evaluate_or_predict(start, packed, placement, channel)
            case VariantSpec():
                return make_variant(start, packed, placement, channel)
            case _:
                assert_never(start.spec)
    except Interrupted:
        return _stopped(channel)  # of a training, the last epoch's snapshot is there already


def fit(
    start: Start, packed: Packed, placement: Placement, channel: Channel, snapshot_every_s: float
) -> Finished | None:
    """Train, from a bundle's weights or a snapshot where there is one, to a bundle; of several ranks 0 alone has one.

    Raises:
        Interrupted: asked to leave; there is a snapshot if there was anything to keep.
    """
    resume_dir = None if start.resume_dir is None else Path(start.resume_dir)
    remembered = {} if resume_dir is None else snapshot.read_metadata(resume_dir)
    spec, found = tuning.tune(start, packed, placement, channel, remembered)
    ranks = DistributedContext()
    artifacts = Artifacts(channel, Path(start.work_dir) / f"artifacts{ranks.rank or ''}")  # none is told but rank 0's
    run = build_run(spec, packed, placement, load_initial_weights(start), artifacts.save)
    if resume_dir is not None:
        resume(run, resume_dir)
        found |= {"begun": remembered["begun"]} if "begun" in remembered else {}
    else:
        found |= restore_from_checkpoint(run, start)
        _tell_of_transfer(run, channel)
    channel.send(Started(runtime=placement.describe() | _runtime(run, start) | ranks.describe() | found))
    shared = ranks.distribute(run)
    if run.relief is not None:
        run.relief.tell = partial(log, channel, level="warning")
    reporter = MetricsCallback(channel, shared)
    snapshots = CheckpointCallback(
        channel,
        shared,
        Path(start.work_dir) / "checkpoints",
        placement.describe() | {"job_id": start.job_id, "epochs": spec.epochs} | found,
        (reporter.settle,),
        description=describe(start.spec, packed.meta, start.job_id, start.dataset),
        every_s=snapshot_every_s,
    )
    vitals = KeepAliveCallback(channel)
    warm_ups = (CompileTimeCallback(channel),) if spec.compile else ()
    observers = *warm_ups, StopRequestCallback(channel), vitals, reporter, *ranks.observers(run, spec.seed)
    warn = partial(log, channel, level="warning")
    shared.loop((*observers, snapshots) if ranks.rank == 0 else observers, warn).fit(run.state)
    if not run.state.is_done:
        raise Interrupted
    return None if ranks.rank else finish(run, start, packed, channel, vitals)


def find_lr(start: Start, packed: Packed, placement: Placement, channel: Channel) -> Answered:
    """Try learning rates as the job says."""
    run, asked = tuning.build_sweep_run(start, packed, placement), tuning.sweep_config(start.spec)
    _tell_of_transfer(run, channel)
    channel.send(Started(runtime=placement.describe() | _runtime(run, start)))
    curve = tuning.sweep(run, asked, tuning.ProgressReporter(channel, asked.steps))
    tuning.save_lr_curve(curve, Artifacts(channel, Path(start.work_dir) / "artifacts"), channel)
    return tuning.lr_find_result(run, curve, channel)


def evaluate_or_predict(start: Start, packed: Packed, placement: Placement, channel: Channel) -> Answered:
    """Show a registered model a split."""
    assert start.model_dir is not None  # noqa: S101 - the supervisor gives it with these kinds
    assert isinstance(start.spec, EvaluateSpec | PredictSpec)  # noqa: S101 - the caller's match
    wanted = start.spec.metrics or () if isinstance(start.spec, EvaluateSpec) else ()
    shown = build_evaluation(start.spec, wanted, packed, Path(start.model_dir), placement)
    channel.send(Started(runtime=placement.describe() | {"num_parameters": shown.num_parameters}))
    if isinstance(start.spec, EvaluateSpec):
        return tuning.evaluate(start.spec, shown, channel)
    return predict(start.spec, shown, channel, Path(start.work_dir) / "answer")


def choose_placement(start: Start, channel: Channel) -> Placement:
    """Where the spec wishes; a resumed run keeps its precision and its threads, else its numbers would change."""
    spec = start.spec
    wished = place(start.device or spec.device, spec.precision, DistributedContext().threads(spec.threads))
    if start.resume_dir is None:
        return wished
    words = snapshot.read_metadata(Path(start.resume_dir))
    kept = Placement(wished.device, words["precision"], words["threads"])
    if kept.threads != wished.threads:
        log(
            channel,
            f"goes on with {kept.threads} threads as it began; this worker would use {wished.threads}",
            "warning",
        )
    return kept


def resume(run: Run, folder: Path) -> None:
    """Put the run where the snapshot was; one that was asked for more epochs since then goes on."""
    before = snapshot.read_metadata(folder)["epochs"]
    snapshot.restore(folder, run.network, run.stateful_parts(), run.placement.device)
    if run.state.max_epochs > before:
        run.state.stop_reason = None


def _tell_of_transfer(run: Run, channel: Channel) -> None:
    if run.transferred is None:
        return
    for what in ("missing", "unexpected", "mismatched"):
        names: list[str] = getattr(run.transferred, what)
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            text = f"Weights to begin with: {len(names)} {what}: {', '.join(names[:MAX_NAMES])}{more}."
            log(channel, text, "warning")


def finish(run: Run, start: Start, packed: Packed, channel: Channel, vitals: KeepAliveCallback) -> Finished:
    """Evaluate the weights to be registered, and write the bundle."""

    def is_interrupted() -> bool:
        vitals.show()
        return channel.stop_mode in {"cancel", "pause", "preempt"}

    metrics = run.load_best_weights(is_interrupted)
    run.guard.check(run.state)
    evaluation = run.evaluate(is_interrupted, metrics)
    for split, values in evaluation.items():
        metrics |= {f"{split}_{name}": value for name, value in values.items() if isinstance(value, float)}
    folder = Path(start.work_dir) / "bundle"
    folder.mkdir()
    facts = bundle.save(folder, run.network, describe(start.spec, packed.meta, start.job_id, start.dataset))
    return Finished(
        dir=str(folder),
        files=to_stored_files(facts),
        metrics=json_floats(metrics),
        evaluation={split: _in_words(values) for split, values in evaluation.items()},
        num_parameters=_num_parameters(run.network),
        stop_reason=run.state.stop_reason,
    )


def warm_up() -> None:
    """Make the first step's costs before anybody waits for it: thread pools, kernels, lazy imports."""
    several = torch.cuda.device_count() > 1  # then it is not known yet which one is ours, and looking takes memory
    placement = place("cpu" if several else "auto")
    use_threads(placement.threads)
    network = placement.network(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with placement.autocast():
        scores = network(torch.zeros(4, 1, 8, 8, device=placement.device))
    nn.functional.cross_entropy(scores.float(), torch.zeros(4, dtype=torch.long, device=placement.device)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _stopped(channel: Channel) -> Stopped:
    asked = channel.stop_mode
    return Stopped(mode="preempt" if asked is None or asked == "finish" else asked)


def _runtime(run: Run, start: Start) -> dict[str, Any]:
    resumed = run.state.step if start.resume_dir is not None else None
    trainable = sum(parameter.numel() for parameter in run.network.parameters() if parameter.requires_grad)
    begun = {} if run.transferred is None else {"init": run.transferred._asdict()}
    counts = {"num_parameters": _num_parameters(run.network), "num_trainable_parameters": trainable}
    return counts | {"resumed_from_step": resumed} | begun


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _in_words(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json_floats({name: value})[name] if isinstance(value, float) else value for name, value in values.items()
    }
