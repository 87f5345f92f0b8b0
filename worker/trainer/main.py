"""`python -m worker.trainer`: spec in, messages out; it needs no queue and no database."""

import signal
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import nn

from core.datasets.packed import PackedDataset
from core.jobs import IMMEDIATE_STOP_MODES, StopMode
from core.process_tuning import TRAIN, set_niceness
from core.spec import EvaluateSpec, JobSpec, LrFindSpec, PredictArchiveSpec, PredictSpec, VariantSpec
from models import bundle
from worker.builders import build_run
from worker.builders.bundle_metadata import build_description
from worker.builders.evaluation import build_evaluation
from worker.engine import snapshot
from worker.engine.device import Placement, Unavailable, build_placement, keep_freed_memory, use_device, use_threads
from worker.engine.distributed import DistributedContext
from worker.engine.run import EvaluationInterrupted, Run
from worker.engine.snapshot_checksums import BadSnapshot
from worker.protocol import EXIT_STOPPED, JobCompleted, RunStarted, RunStopped, Start, TrainingFinished
from worker.trainer import cli, tuning
from worker.trainer.artifacts import Artifacts
from worker.trainer.batch_predict import predict_archive, predict_split
from worker.trainer.callbacks import (
    CheckpointCallback,
    CompileTimeCallback,
    KeepAliveCallback,
    MetricsCallback,
    StopRequestCallback,
    send_log,
    to_json_floats,
    to_stored_files,
)
from worker.trainer.channel import STDIN, Channel, preempt_on_signal, redirect_stdout
from worker.trainer.error_classification import WrongDataset, classify_error
from worker.trainer.export import make_variant
from worker.trainer.initial_state import load_initial_weights, restore_from_checkpoint
from worker.trainer.launcher import get_num_ranks, launch_ranks

MAX_NAMES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Train once; the exit status is 0 when finished, 75 when stopped as asked, 1 when failed."""
    options = cli.create_parser().parse_args(arguments)
    channel = Channel(redirect_stdout())
    keep_freed_memory()
    if options.spec is not None:
        preempt_on_signal(channel, signal.SIGTERM, signal.SIGINT)
        try:
            start = cli.start_message_from_args(options, partial(send_log, channel, level="warning"))
        except BadSnapshot as error:
            channel.send_final(classify_error(error, None))
            return 1
        return launch_or_run(start, channel)
    set_niceness(TRAIN)
    channel.start_listening(STDIN)
    warm_up()
    start = channel.wait_for_start()
    preempt_on_signal(channel, signal.SIGTERM)  # a standby has nothing to save: before that the signal just ends it
    return launch_or_run(start, channel)


def launch_or_run(start: Start, channel: Channel) -> int:
    """Train here, or with as many processes as the job asks for."""
    if get_num_ranks(start.spec) == 1:
        return run_job(start, channel)
    try:
        return launch_ranks(start, channel, run_job)
    except Unavailable as error:
        channel.send_final(classify_error(error, start.spec))
        return 1


def run_job(start: Start, channel: Channel, *, snapshot_every_s: float = 60.0) -> int:
    """Train, and say how it ended."""
    try:
        message = train_job(start, channel, snapshot_every_s=snapshot_every_s)
    except Exception as error:  # noqa: BLE001 - whatever it was, the supervisor is told
        send_log(channel, traceback.format_exc(), "error")
        channel.send_final(classify_error(error, start.spec, Path(start.dataset_dir)))
        return 1
    if message is None:
        return 0
    channel.send_final(message)
    return EXIT_STOPPED if isinstance(message, RunStopped) else 0


def train_job(
    start: Start, channel: Channel, *, snapshot_every_s: float = 60.0
) -> TrainingFinished | JobCompleted | RunStopped | None:
    """From the spec to what its kind of job leaves, or to an early end where somebody asked to leave."""
    if isinstance(start.spec, PredictArchiveSpec):
        try:
            return predict_archive(start, choose_placement(start, channel), channel)
        except EvaluationInterrupted:
            return _build_stopped(channel)
    packed = PackedDataset.open(Path(start.dataset_dir))
    expected = start.dataset.get("content_hash")
    if expected is not None and packed.meta.content_hash != expected:
        raise WrongDataset(f"the dataset's content is {packed.meta.content_hash}, not {expected}")
    placement = choose_placement(start, channel)
    use_threads(placement.threads)
    use_device(placement.device)
    try:
        match start.spec:
            case JobSpec():
                return fit_run(start, packed, placement, channel, snapshot_every_s)
            case LrFindSpec():
                return find_lr(start, packed, placement, channel)
            case EvaluateSpec() | PredictSpec():
                return evaluate_or_predict(start, packed, placement, channel)
            case VariantSpec():
                return make_variant(start, packed, placement, channel)
            case _:
                assert_never(start.spec)
    except EvaluationInterrupted:
        return _build_stopped(channel)  # of a training, the last epoch's snapshot is there already


def fit_run(
    start: Start, packed: PackedDataset, placement: Placement, channel: Channel, snapshot_every_s: float
) -> TrainingFinished | None:
    """Train, from a bundle's weights or a snapshot where there is one, to a bundle; of several ranks 0 alone has one.

    Raises:
        Interrupted: asked to leave; there is a snapshot if there was anything to keep.
    """
    resume_dir = None if start.resume_dir is None else Path(start.resume_dir)
    metadata = {} if resume_dir is None else snapshot.read_metadata(resume_dir)
    spec, tuned = tuning.tune_job(start, packed, placement, channel, metadata)
    ranks = DistributedContext()
    artifacts = Artifacts(channel, Path(start.work_dir) / f"artifacts{ranks.rank or ''}")  # none is told but rank 0's
    run = build_run(spec, packed, placement, load_initial_weights(start), artifacts.save)
    if resume_dir is not None:
        resume_run(run, resume_dir)
        tuned |= {"begun": metadata["begun"]} if "begun" in metadata else {}
    else:
        tuned |= restore_from_checkpoint(run, start)
        _report_transfer(run, channel)
    channel.send(RunStarted(runtime=placement.describe() | _describe_runtime(run, start) | ranks.describe() | tuned))
    shared = ranks.distribute(run)
    if run.oom_splitter is not None:
        run.oom_splitter.on_split = partial(send_log, channel, level="warning")
    reporter = MetricsCallback(channel, shared)
    snapshots = CheckpointCallback(
        channel,
        shared,
        Path(start.work_dir) / "checkpoints",
        placement.describe() | {"job_id": start.job_id, "epochs": spec.epochs} | tuned,
        (reporter.flush_pending,),
        description=build_description(start.spec, packed.meta, start.job_id, start.dataset),
        every_s=snapshot_every_s,
    )
    keep_alive = KeepAliveCallback(channel)
    compile_times = (CompileTimeCallback(channel),) if spec.compile else ()
    observers = (
        *compile_times,
        StopRequestCallback(channel),
        keep_alive,
        reporter,
        *ranks.build_observers(run, spec.seed),
    )
    warn = partial(send_log, channel, level="warning")
    shared.build_loop((*observers, snapshots) if ranks.rank == 0 else observers, warn).fit(run.state)
    if not run.state.is_done:
        raise EvaluationInterrupted
    return None if ranks.rank else finish_run(run, start, packed, channel, keep_alive)


def find_lr(start: Start, packed: PackedDataset, placement: Placement, channel: Channel) -> JobCompleted:
    """Try learning rates as the job says."""
    run, lr_sweep = tuning.build_sweep_run(start, packed, placement), tuning.get_lr_sweep(start.spec)
    _report_transfer(run, channel)
    channel.send(RunStarted(runtime=placement.describe() | _describe_runtime(run, start)))
    curve = tuning.run_lr_sweep(run, lr_sweep, tuning.ProgressReporter(channel, lr_sweep.steps))
    tuning.save_lr_curve(curve, Artifacts(channel, Path(start.work_dir) / "artifacts"), channel)
    return tuning.build_lr_result(run, curve, channel)


def evaluate_or_predict(start: Start, packed: PackedDataset, placement: Placement, channel: Channel) -> JobCompleted:
    """Show a registered model a split."""
    assert start.model_dir is not None  # noqa: S101 - the supervisor gives it with these kinds
    assert isinstance(start.spec, EvaluateSpec | PredictSpec)  # noqa: S101 - the caller's match
    requested_metrics = start.spec.metrics or () if isinstance(start.spec, EvaluateSpec) else ()
    setup = build_evaluation(start.spec, requested_metrics, packed, Path(start.model_dir), placement)
    channel.send(RunStarted(runtime=placement.describe() | {"num_parameters": setup.num_parameters}))
    if isinstance(start.spec, EvaluateSpec):
        return tuning.evaluate_model(start.spec, setup, channel)
    return predict_split(start.spec, setup, channel, Path(start.work_dir) / "answer")


def choose_placement(start: Start, channel: Channel) -> Placement:
    """Where the spec wishes; a resumed run keeps its precision and its threads, else its numbers would change."""
    spec = start.spec
    preferred = build_placement(
        start.device or spec.device, spec.precision, DistributedContext().choose_num_threads(spec.threads)
    )
    if start.resume_dir is None:
        return preferred
    metadata = snapshot.read_metadata(Path(start.resume_dir))
    resumed = Placement(preferred.device, metadata["precision"], metadata["threads"])
    if resumed.threads != preferred.threads:
        send_log(
            channel,
            f"goes on with {resumed.threads} threads as it began; this worker would use {preferred.threads}",
            "warning",
        )
    return resumed


def resume_run(run: Run, folder: Path) -> None:
    """Put the run where the snapshot was; one that was asked for more epochs since then goes on."""
    previous_epochs = snapshot.read_metadata(folder)["epochs"]
    snapshot.restore_snapshot(folder, run.network, run.stateful_parts(), run.placement.device)
    if run.state.max_epochs > previous_epochs:
        run.state.stop_reason = None


def _report_transfer(run: Run, channel: Channel) -> None:
    if run.load_report is None:
        return
    for what in ("missing", "unexpected", "mismatched"):
        names: list[str] = getattr(run.load_report, what)
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            text = f"Weights to begin with: {len(names)} {what}: {', '.join(names[:MAX_NAMES])}{more}."
            send_log(channel, text, "warning")


def finish_run(
    run: Run, start: Start, packed: PackedDataset, channel: Channel, keep_alive: KeepAliveCallback
) -> TrainingFinished:
    """Evaluate the weights to be registered, and write the bundle."""

    def is_interrupted() -> bool:
        keep_alive.send_if_due()
        return channel.stop_mode in IMMEDIATE_STOP_MODES

    metrics = run.load_best_weights(is_interrupted)
    run.guard.check_finite(run.state)
    evaluation = run.evaluate(is_interrupted, metrics)
    for split, values in evaluation.items():
        metrics |= {f"{split}_{name}": value for name, value in values.items() if isinstance(value, float)}
    folder = Path(start.work_dir) / "bundle"
    folder.mkdir()
    digests = bundle.save_bundle(
        folder, run.network, build_description(start.spec, packed.meta, start.job_id, start.dataset)
    )
    return TrainingFinished(
        dir=str(folder),
        files=to_stored_files(digests),
        metrics=to_json_floats(metrics),
        evaluation={split: _to_json_values(values) for split, values in evaluation.items()},
        num_parameters=_count_parameters(run.network),
        stop_reason=run.state.stop_reason,
    )


def warm_up() -> None:
    """Make the first step's costs before anybody waits for it: thread pools, kernels, lazy imports."""
    several = torch.cuda.device_count() > 1  # then it is not known yet which one is ours, and looking takes memory
    placement = build_placement("cpu" if several else "auto")
    use_threads(placement.threads)
    network = placement.place_network(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with placement.autocast():
        scores = network(torch.zeros(4, 1, 8, 8, device=placement.device))
    nn.functional.cross_entropy(scores.float(), torch.zeros(4, dtype=torch.long, device=placement.device)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _build_stopped(channel: Channel) -> RunStopped:
    requested = channel.stop_mode
    return RunStopped(mode=StopMode.PREEMPT if requested is None or requested == StopMode.FINISH else requested)


def _describe_runtime(run: Run, start: Start) -> dict[str, Any]:
    resumed = run.state.step if start.resume_dir is not None else None
    trainable = sum(parameter.numel() for parameter in run.network.parameters() if parameter.requires_grad)
    initial_weights = {} if run.load_report is None else {"init": run.load_report._asdict()}
    counts = {"num_parameters": _count_parameters(run.network), "num_trainable_parameters": trainable}
    return counts | {"resumed_from_step": resumed} | initial_weights


def _count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _to_json_values(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: to_json_floats({name: value})[name] if isinstance(value, float) else value
        for name, value in values.items()
    }
