"""What a run takes over from a checkpoint of another one, beside weights: it knows neither jobs nor specs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from worker.engine import snapshot
from worker.engine.callback import TrainingError
from worker.engine.callbacks import Schedule
from worker.engine.optimizers import lay_out_like_parameters
from worker.engine.run import Run

SCHEDULED = ("lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "base_momentum", "max_momentum")
"""What a schedule moves in a group of parameters, and what it remembers there."""


class IncompatibleCheckpoint(TrainingError, ValueError):
    """What the checkpoint remembers is of another network or optimizer."""


class RestoreOptions(NamedTuple):
    """What is taken over.

    Attributes:
        schedule: it is of the same name in both runs; average: so is that.
        records: the whole epochs made so far, and their metrics, count as this run's.
    """

    optimizer: bool = False
    callbacks: bool = False
    schedule: bool = False
    average: bool = False
    records: bool = False


def restore_partial(run: Run, folder: Path, wanted: RestoreOptions) -> list[str]:
    """Give the run what a checkpoint remembers; the names of what went on.

    Raises:
        BadSnapshot: the files are damaged.
        Unfit: it does not fit.
    """
    saved = snapshot.read_parts(folder, run.placement.device)
    went_on: list[str] = []
    try:
        if wanted.optimizer:
            _give_optimizer(run.optimizer, saved["optimizer"])
            went_on.append("optimizer")
        if wanted.callbacks:
            went_on += _give_callbacks(run, saved, wanted)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise IncompatibleCheckpoint(f"the checkpoint remembers what does not fit: {error}") from error
    if wanted.records:
        _count_on(run, saved["state"])
        went_on.append("records")
    return went_on


def _give_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Moments and counters; learning rate, decay and the like stay as they were asked for."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    lay_out_like_parameters(optimizer)


def _give_callbacks(run: Run, saved: Mapping[str, Any], wanted: RestoreOptions) -> list[str]:
    went_on: list[str] = []
    left = _by_kind(saved)
    for callback in run.callbacks:
        states = left.get(type(callback).__name__, [])
        if isinstance(callback, Schedule):
            if wanted.schedule and states:
                callback.load_state_dict(states.pop(0))
                _give_rates(run.optimizer, saved["optimizer"]["param_groups"])
                went_on.append("schedule")
        elif states:
            callback.load_from_other_run(states.pop(0))
            went_on.append(type(callback).__name__)
    if wanted.average and run.averaging is not None and "averaging" in saved:
        run.averaging.load_state_dict(saved["averaging"])
        went_on.append(type(run.averaging).__name__)
    return went_on


def _by_kind(saved: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The states of callbacks by the names of their classes, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, state in saved.items():
        if name.startswith("callback_"):
            found.setdefault(name.split("_", 2)[2], []).append(state)
    return found


def _give_rates(optimizer: torch.optim.Optimizer, saved: Sequence[Mapping[str, Any]]) -> None:
    for group, theirs in zip(optimizer.param_groups, saved, strict=True):
        group.update({name: theirs[name] for name in SCHEDULED if name in theirs})


def _count_on(run: Run, saved: Mapping[str, Any]) -> None:
    """Begin behind the last epoch that is whole; what was trained of the next one is in the weights, and is no more."""
    state = run.state
    state.epoch = saved["step"] // state.steps_per_epoch
    state.step = state.epoch * state.steps_per_epoch
    state.metrics, state.seconds = dict(saved["metrics"]), saved["seconds"]
