"""Restores a finished run that is extended by more epochs."""

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from worker.engine import snapshot
from worker.engine.callback import DisabledCallbacks
from worker.engine.callbacks import BatchLrScheduler, EpochLrScheduler, LrSchedulerCallback, PlateauLrScheduler
from worker.engine.partial_restore import restore_moments
from worker.engine.run import Run
from worker.engine.snapshot_checksums import BadSnapshot

SCHEDULERS = frozenset(kind.__name__ for kind in (BatchLrScheduler, EpochLrScheduler, PlateauLrScheduler))
CALLBACK_NAME = re.compile(r"callback_(?P<index>\d+)_(?P<class_name>\w+)")
DISABLED = "disabled_callbacks"


def restore_finished_run(run: Run, folder: Path, *, num_epochs: int, has_new_schedule: bool) -> None:
    """Restore the last snapshot of a finished run, so that the run can train more epochs.

    Early stopping and time limits start again. With `has_new_schedule`, the schedule of the run also starts at its
    first step, and the schedule in the snapshot is ignored. `num_epochs` is the number of epochs before the extension.

    Raises:
        BadSnapshot: the files are damaged or belong to a different run.
    """
    if has_new_schedule:
        _restore_without_schedule(run, folder)
    else:
        snapshot.restore_snapshot(folder, run.network, run.stateful_parts(), run.placement.device)
    for callback in run.callbacks:
        callback.restart()
    run.state.extend(num_epochs)


def _restore_without_schedule(run: Run, folder: Path) -> None:
    """Restore everything except for the schedule and the learning rates and momenta that it controls."""
    saved = snapshot.read_parts(folder, run.placement.device)
    parts = {name: part for name, part in run.stateful_parts().items() if not CALLBACK_NAME.fullmatch(name)}
    callbacks = [callback for callback in run.callbacks if not isinstance(callback, LrSchedulerCallback)]
    states = _list_callback_states(saved)
    names = [type(callback).__name__ for callback in callbacks]
    if [name for name, _ in states] != names or not parts.keys() <= saved.keys():
        raise BadSnapshot(f"the snapshot holds {sorted(saved)}; this run has {sorted(parts)} and the callbacks {names}")
    try:
        run.network.load_state_dict(load_file(folder / snapshot.WEIGHTS))
        restore_moments(run.optimizer, saved["optimizer"])
        for name, part in parts.items():
            if name not in {"optimizer", DISABLED}:
                part.load_state_dict(saved[name])
        for callback, (_, state) in zip(callbacks, states, strict=True):
            callback.load_state_dict(state)
        if DISABLED in parts:
            num_inserted = len(run.callbacks) - _count_callbacks(saved)
            DisabledCallbacks(run.callbacks).load_state_dict(_shift_indices(saved[DISABLED], num_inserted))
    except (OSError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise BadSnapshot(f"the snapshot cannot be restored: {error}") from error


def _list_callback_states(saved: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the class name and the state of each callback in the snapshot except for the schedule, in their order."""
    matches = sorted(filter(None, map(CALLBACK_NAME.fullmatch, saved)), key=lambda match: int(match["index"]))
    return [(match["class_name"], saved[match[0]]) for match in matches if match["class_name"] not in SCHEDULERS]


def _count_callbacks(saved: dict[str, Any]) -> int:
    return sum(CALLBACK_NAME.fullmatch(name) is not None for name in saved)


def _shift_indices(state: dict[str, Any], num_inserted: int) -> dict[str, Any]:
    """Return the state of `DisabledCallbacks` for a list with `num_inserted` more callbacks at its start."""
    return {"off": [index + num_inserted for index in state["off"]]}
