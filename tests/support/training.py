"""Builders for tests of the engine: small datasets, small jobs, recording observers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import META_FILE, PackedDataset
from core.db.metric_rollup import USAGE_SPLIT
from core.spec import JobSpec
from models.bundle import write_weights
from worker.builders import build_run
from worker.engine.callback import HOOKS, Callback, CallbackHandler
from worker.engine.device import Placement, Precision
from worker.engine.forward_pass import ForwardPass
from worker.engine.gradients import SINGLE_PROCESS, ForwardBackward, GradientAccumulator, ProcessGroup
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.metrics.factory import build_adapter
from worker.engine.mixing import BatchMixing
from worker.engine.optimizer_step import GradientClipping, OptimizerStep
from worker.engine.run import Run
from worker.engine.state import RunState
from worker.engine.steps import TrainStep
from worker.protocol import ArtifactWritten, CurvePoint, Metrics, TrainerMessage
from worker.trainer.channel import Channel

SMALL_NETWORK = {"name": "convnet", "channels": [8, 16], "batch_norm": True, "dropout": 0.2, "head": [16]}


def cpu_placement(precision: Precision = "fp32", threads: int = 1) -> Placement:
    return Placement(torch.device("cpu"), precision, threads)


def pack(folder: Path, **options: Any) -> PackedDataset:
    """Pack synthetic images: by default 8x8, gray, of three classes."""
    chosen = {"image_shape": [1, 8, 8], "num_samples": 90} | options
    if chosen.get("task", "classification") == "classification":
        chosen = {"num_classes": 3} | chosen
    pack_builtin("synthetic", chosen, Path("/nonexistent"), folder)
    return PackedDataset.open(folder)


def add_weights(packed: PackedDataset, weights: Sequence[float] | None = None) -> PackedDataset:
    """Return the dataset with weighted training samples (default: 0, 1, 2, 3, 4, 0, …)."""
    folder, splits = packed._folder, packed.meta.splits
    for name, count in splits.items():
        values = np.resize(np.arange(5), count) if weights is None or name != "train" else np.asarray(weights)
        np.save(folder / f"{name}_weights.npy", values.astype(np.float32))
    (folder / META_FILE).write_text(packed.meta.model_copy(update={"weighted": True}).model_dump_json())
    return PackedDataset.open(folder)


def build_spec(**changes: Any) -> JobSpec:
    """Build the spec of a small job. `changes` override its fields."""
    body: dict[str, Any] = {
        "dataset": {"name": "synthetic"},
        "architecture": SMALL_NETWORK,
        "metrics": ["accuracy"],
        "epochs": 2,
        "batch_size": 16,
        "seed": 7,
        "threads": 1,
        "precision": "fp32",
    }
    return JobSpec.model_validate(body | changes)


def build_small_run(packed: PackedDataset, precision: Precision = "fp32", **changes: Any) -> Run:
    return build_run(build_spec(**changes), packed, cpu_placement(precision))


def train_small_run(packed: PackedDataset, **changes: Any) -> dict[str, float]:
    """Train one epoch, check that weights have changed, and return the metrics."""
    run = build_run(build_spec(**{"epochs": 1, "metrics": []} | changes), packed, cpu_placement())
    before = [parameter.detach().clone() for parameter in run.network.parameters()]
    run.build_loop().fit(run.state)
    assert any(not torch.equal(old, new) for old, new in zip(before, run.network.parameters(), strict=True))
    return run.state.metrics


def build_train_step(
    forward: ForwardPass,
    optimizer: torch.optim.Optimizer,
    callbacks: Sequence[Callback] = (),
    *,
    scaler: torch.amp.GradScaler | None = None,
    clipping: GradientClipping | None = None,
    mixing: BatchMixing | None = None,
    micro_batch_size: int | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> TrainStep:
    """Build a training step for classes, without metrics."""
    hooks = CallbackHandler(callbacks)
    gradients = GradientAccumulator(
        ForwardBackward(forward, hooks, mixing=mixing, scaler=scaler),
        optimizer,
        micro_batch_size=micro_batch_size,
        group=group,
    )
    accumulator = MetricAccumulator({}, build_adapter("classification"))
    return TrainStep(gradients, OptimizerStep(optimizer, scaler, clipping), accumulator, hooks)


class RecordingChannel(Channel):
    """A channel that records messages instead of writing them."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.messages: list[TrainerMessage] = []

    def send(self, message: TrainerMessage) -> None:
        self.messages.append(message)

    def select_messages(self, kind: type[TrainerMessage]) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    def collect_points(self) -> dict[tuple[str, str, int], float | str]:
        """Return all values that do not measure time or memory."""
        clocked = {"images_per_s", "data_wait", "epoch_seconds", "peak_memory_mib", "seconds"}
        points: Sequence[CurvePoint] = [point for message in self.select_messages(Metrics) for point in message.points]
        return {
            (point.split, point.name, point.step): point.value
            for point in points
            if point.split != USAGE_SPLIT and point.name not in clocked
        }


def end_epoch(epoch: int, loss: float) -> RunState:
    """Return the state at the end of an epoch with this validation loss."""
    return RunState(max_epochs=9, steps_per_epoch=1, epoch=epoch, metrics={"valid_loss": loss})


class InterruptAt(Callback):
    """Interrupts the run after an optimizer step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, state: RunState) -> None:
        if state.step == self._step:
            state.interrupt()


def hash_weights(network: nn.Module, folder: Path) -> str:
    return write_weights(folder / "weights.safetensors", network)


def hash_optimizer(optimizer: torch.optim.Optimizer) -> str:
    digest = hashlib.sha256()
    for state in optimizer.state.values():
        for value in state.values():
            for item in value if isinstance(value, list) else [value]:
                content = item.contiguous().numpy().tobytes() if isinstance(item, torch.Tensor) else repr(item).encode()
                digest.update(content)
    return digest.hexdigest()


def build_hook_recorder(into: list[str]) -> Callback:
    """Build a callback that overrides every hook and records its name."""

    def noting(name: str) -> Any:
        return lambda self, state: into.append(name)

    kind: type[Callback] = type("Recorder", (Callback,), {name: noting(name) for name in HOOKS})
    return kind()


def read_artifacts(channel: RecordingChannel) -> dict[str, bytes]:
    """Return the final content of every artifact, by name."""
    return {
        message.name: (Path(message.dir) / message.name).read_bytes()
        for message in channel.select_messages(ArtifactWritten)
    }
