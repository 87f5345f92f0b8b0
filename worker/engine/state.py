"""The state of a training run. Callbacks read the state, and can stop the run or tag epochs."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Phase = Literal["train", "valid", "end"]
JSON_FIELDS = ("epoch", "batch", "step", "phase", "metrics", "stop_reason", "stop_immediately", "seconds")


@dataclass(slots=True)
class RunState:
    """The state of a run of `max_epochs` epochs with `steps_per_epoch` optimizer steps each.

    Attributes:
        epoch: number of the current or last epoch. The first epoch is 1; before it, the value is 0.
        batch: number of completed training batches in this epoch.
        step: number of optimizer steps over all epochs.
        phase: the current phase of the epoch; "end" when the epoch is complete.
        metrics: metrics of the last complete phases, with the keys `train_<name>` and `valid_<name>`.
        tags: tags of this epoch's snapshot, set by callbacks: "best", "kept".
        retained_epochs: epochs whose snapshots are kept; callbacks set them at the end of each epoch.
        seconds: seconds of training over all attempts.
        wait_seconds: seconds of waiting for batches in this epoch.
        epoch_seconds: seconds that this attempt has spent in this epoch.
        first_epoch: number of epochs that another run, or this run before an extension, had completed.
        lr: learning rate of the current step in the first parameter group.
        target: targets of the batch, as in the dataset.
        pred: raw scores of the batch, (B, num_outputs).
        loss: mean loss of the batch, detached.
        stop_immediately: whether to stop after this step instead of after this epoch.
    """

    max_epochs: int
    steps_per_epoch: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    phase: Phase = "end"
    metrics: dict[str, float] = field(default_factory=dict)
    tags: set[Literal["best", "kept"]] = field(default_factory=set)
    retained_epochs: set[int] = field(default_factory=set)
    stop_reason: str | None = None
    seconds: float = 0.0
    wait_seconds: float = 0.0
    epoch_seconds: float = 0.0
    first_epoch: int = 0
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
        """The number of optimizer steps at the end of the last epoch. Steps that a time limit skipped do not count."""
        return self.step + self.num_planned_steps

    @property
    def num_planned_steps(self) -> int:
        """The number of optimizer steps from now until the end of the last epoch."""
        in_epoch = max(0, self.steps_per_epoch - self.batch) if self.phase == "train" else 0
        return in_epoch + max(0, self.max_epochs - self.epoch) * self.steps_per_epoch

    @property
    def has_trained_epoch(self) -> bool:
        """Whether this run has started an epoch, not counting the epochs before an extension or of another run."""
        return self.epoch > self.first_epoch

    @property
    def is_done(self) -> bool:
        """Whether the run is complete: no further epoch follows."""
        return self.phase == "end" and (self.epoch >= self.max_epochs or self.stop_reason is not None)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Stop the run after this epoch. `at_once`: skip the remaining steps of the epoch, then validate and end it."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.stop_immediately = self.stop_immediately or at_once

    def extend(self, first_epoch: int) -> None:
        """Continue a finished run after `first_epoch` epochs: discard the reason why it stopped."""
        self.first_epoch = first_epoch
        self.stop_reason, self.stop_immediately = None, False

    def interrupt(self) -> None:
        """Interrupt the run after this step. An interrupted run can be resumed from a snapshot."""
        self.is_interrupted = True

    def state_dict(self) -> dict[str, Any]:
        """Return the fields that a snapshot stores."""
        return {name: getattr(self, name) for name in JSON_FIELDS}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        for name in JSON_FIELDS:
            setattr(self, name, state_dict[name])
