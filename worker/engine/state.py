"""Where a run stands. Hooks read it, may ask it to stop with a reason, and change nothing else."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Phase = Literal["train", "valid", "end"]
JSON_FIELDS = ("epoch", "batch", "step", "phase", "metrics", "stop_reason", "is_cut_short", "seconds")


@dataclass(slots=True)
class RunState:
    """A run of `max_epochs` epochs of `steps_per_epoch` optimizer steps.

    Attributes:
        epoch: the one being trained or last trained, from 1; 0 before the first.
        batch: training batches done in this epoch.
        step: optimizer steps made, over all epochs.
        phase: what of this epoch is under way; "end" once it is complete.
        metrics: of the last complete phases, by `<train|valid>_<name>`.
        tags: what callbacks say of this epoch's snapshot: "best", "kept".
        kept: epochs whose snapshots are asked for, told at each epoch's end.
        seconds: spent training, over all attempts.
        wait_seconds: of this epoch, spent waiting for the next batch.
        epoch_seconds: of this attempt's part of this epoch.
        lr: learning rate of the step under way, of the first parameter group.
        target: as the dataset has it; pred: (B, num_outputs) raw scores; loss: its mean over the batch, detached.
    """

    max_epochs: int
    steps_per_epoch: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    phase: Phase = "end"
    metrics: dict[str, float] = field(default_factory=dict)
    tags: set[Literal["best", "kept"]] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    stop_reason: str | None = None
    seconds: float = 0.0
    wait_seconds: float = 0.0
    epoch_seconds: float = 0.0
    is_training: bool = False
    lr: float = 0.0
    batch_size: int = 0
    target: Tensor | None = None
    pred: Tensor | None = None
    loss: Tensor | None = None
    stop_immediately: bool = False
    is_interrupted: bool = False

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.max_epochs * self.steps_per_epoch

    @property
    def is_done(self) -> bool:
        """No further epoch is to be trained."""
        return self.phase == "end" and (self.epoch >= self.max_epochs or self.stop_reason is not None)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """End the run after this epoch, or `at_once`: after this step, the validation of the epoch, and its end."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.stop_immediately = self.stop_immediately or at_once

    def interrupt(self) -> None:
        """Leave after this step, to be resumed from a snapshot."""
        self.is_interrupted = True

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in JSON_FIELDS}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for name in JSON_FIELDS:
            setattr(self, name, saved[name])
