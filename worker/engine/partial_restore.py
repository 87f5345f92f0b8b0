"""Restores selected parts of a different run's checkpoint: optimizer, callbacks, schedule, average, progress."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from worker.engine import snapshot
from worker.engine.callback import TrainingError
from worker.engine.callbacks import LrSchedulerCallback
from worker.engine.optimizers import match_parameter_layout
from worker.engine.run import Run

SCHEDULER_KEYS = ("lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "base_momentum", "max_momentum")
"""Keys of a parameter group that belong to the learning-rate schedule."""


class IncompatibleCheckpoint(TrainingError, ValueError):
    """The checkpoint's state belongs to a different network or optimizer."""


class RestoreOptions(NamedTuple):
    """Selects the parts of a checkpoint to restore.

    Attributes:
        schedule: the schedule's state. Requires a schedule of the same name in both runs.
        average: the averaged weights. Requires the same kind of averaging in both runs.
        records: the number of complete epochs, the metrics and the training time.
    """

    optimizer: bool = False
    callbacks: bool = False
    schedule: bool = False
    average: bool = False
    records: bool = False


def restore_partial(run: Run, folder: Path, options: RestoreOptions) -> list[str]:
    """Restore parts of a checkpoint into the run, and return their names.

    Raises:
        BadSnapshot: the files are damaged.
        IncompatibleCheckpoint: the state is not compatible with the run.
    """
    checkpoint = snapshot.read_parts(folder, run.placement.device)
    restored: list[str] = []
    try:
        if options.optimizer:
            restore_moments(run.optimizer, checkpoint["optimizer"])
            restored.append("optimizer")
        if options.callbacks:
            restored += _restore_callbacks(run, checkpoint, options)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise IncompatibleCheckpoint(f"the checkpoint's state does not fit this run: {error}") from error
    if options.records:
        _restore_progress(run, checkpoint["state"])
        restored.append("records")
    return restored


def restore_moments(optimizer: torch.optim.Optimizer, checkpoint: dict[str, Any]) -> None:
    """Load the optimizer's moments and step counters. Do not load options such as the learning rate."""
    options = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(checkpoint)
    for group, values in zip(optimizer.param_groups, options, strict=True):
        group.update(values)
    match_parameter_layout(optimizer)


def _restore_callbacks(run: Run, checkpoint: Mapping[str, Any], options: RestoreOptions) -> list[str]:
    restored: list[str] = []
    remaining = _group_callback_states(checkpoint)
    for callback in run.callbacks:
        states = remaining.get(type(callback).__name__, [])
        if isinstance(callback, LrSchedulerCallback):
            if options.schedule and states:
                callback.load_state_dict(states.pop(0))
                _restore_learning_rates(run.optimizer, checkpoint["optimizer"]["param_groups"])
                restored.append("schedule")
        elif states:
            callback.load_from_other_run(states.pop(0))
            restored.append(type(callback).__name__)
    if options.average and run.averaging is not None and "averaging" in checkpoint:
        run.averaging.load_state_dict(checkpoint["averaging"])
        restored.append(type(run.averaging).__name__)
    return restored


def _group_callback_states(checkpoint: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the states of callbacks, keyed by class name. The states of a class are in the order of the callbacks."""
    states: dict[str, list[dict[str, Any]]] = {}
    for name, state in checkpoint.items():
        if name.startswith("callback_"):
            states.setdefault(name.split("_", 2)[2], []).append(state)
    return states


def _restore_learning_rates(optimizer: torch.optim.Optimizer, checkpoint: Sequence[Mapping[str, Any]]) -> None:
    for group, saved_group in zip(optimizer.param_groups, checkpoint, strict=True):
        group.update({name: saved_group[name] for name in SCHEDULER_KEYS if name in saved_group})


def _restore_progress(run: Run, checkpoint: Mapping[str, Any]) -> None:
    """Set the run's progress to the last complete epoch. Steps of a partial epoch are not counted."""
    state = run.state
    state.epoch = checkpoint["step"] // state.steps_per_epoch
    state.step = state.epoch * state.steps_per_epoch
    state.first_epoch = state.epoch
    state.metrics, state.seconds = dict(checkpoint["metrics"]), checkpoint["seconds"]
