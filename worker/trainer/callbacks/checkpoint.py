"""Writes snapshots of a run and reports them to the supervisor as checkpoints."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from models import bundle
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.run import Run
from worker.engine.snapshot_checksums import format_folder_name
from worker.engine.snapshot_writer import SnapshotWriter
from worker.engine.state import RunState
from worker.protocol import CheckpointWritten
from worker.trainer.artifacts import to_file_digests
from worker.trainer.channel import Channel
from worker.trainer.json_values import to_json_floats


class CheckpointCallback(Callback):
    """Writes a snapshot every `every_s` seconds, at the end of every epoch, and when the run is interrupted.

    NaN and infinite values are never stored: losses are checked before the snapshot is taken, and weights before they
    are written. The next optimizer step waits until the state is copied. A separate thread then writes the files. While
    it is writing, the next timed snapshot is postponed.

    Args:
        folder: the parent folder. Each snapshot is a subfolder.
        metadata: values to store in every snapshot.
        get_metadata: returns values to store that change during the run. Default: none.
        before_write: functions to call before each snapshot is taken.
        description: the content of `bundle.json`. If it is given, each snapshot is also a bundle.
        every_s: seconds between two snapshots within an epoch. Default: 60.
    """

    def __init__(
        self,
        channel: Channel,
        run: Run,
        folder: Path,
        metadata: dict[str, Any],
        before_write: Sequence[Callable[[RunState], None]] = (),
        *,
        description: bundle.BundleDescription | None = None,
        get_metadata: Callable[[], dict[str, Any]] = dict,
        every_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._run = run
        self._folder = folder
        self._metadata = metadata
        self._get_metadata = get_metadata
        self._description = description
        self._before_write = before_write
        self._every_s = every_s
        self._clock = clock
        self._writer = SnapshotWriter()
        self._written_at = clock()
        self._last_position: tuple[int, str] | None = None
        self._micro_batch_size = self._get_micro_batch_size()

    def on_train_batch_before_step(self, state: RunState) -> None:
        self._writer.wait_for_copy()

    def on_train_batch_end(self, state: RunState) -> None:
        self._writer.raise_error()
        micro_batch_size = self._get_micro_batch_size()
        is_due = self._clock() - self._written_at >= self._every_s and not self._writer.is_busy
        # also save a changed micro-batch size, because a run that resumes after this step must use the new size
        if is_due or micro_batch_size != self._micro_batch_size:
            self._write_snapshot(state)
        self._micro_batch_size = micro_batch_size

    def on_epoch_end(self, state: RunState) -> None:
        self._write_snapshot(state, tuple(sorted(state.retained_epochs)))

    def on_interrupt(self, state: RunState) -> None:
        if self._last_position != (state.step, state.phase):
            self._write_snapshot(state)

    def on_fit_end(self, state: RunState) -> None:
        self._writer.wait()

    def on_exception(self, state: RunState) -> None:
        self._writer.drain()  # write and report the snapshots that were taken before the error

    def _get_micro_batch_size(self) -> int | None:
        return None if self._run.oom_splitter is None else self._run.oom_splitter.size

    def _write_snapshot(self, state: RunState, retained_epochs: tuple[int, ...] | None = None) -> None:
        self._run.guard.check_losses(state)
        for call in self._before_write:
            call(state)
        folder = self._folder / format_folder_name(state.epoch, state.step, state.phase)
        message = partial(  # read the values now, because another thread writes the files later
            CheckpointWritten,
            dir=str(folder),
            epoch=state.epoch,
            step=state.step,
            metrics=to_json_floats(state.metrics),
            tags=tuple(sorted(state.tags)) if state.phase == "end" else (),
            retained_epochs=retained_epochs,
        )

        def report(digests: snapshot.FileDigests) -> None:
            if self._description is not None:
                digests = digests | bundle.save_description(folder, self._description)
            self._channel.send(message(files=to_file_digests(digests)))

        self._writer.submit(
            folder,
            self._run.network,
            self._run.stateful_parts(),
            self._metadata | self._get_metadata() | {"epoch": state.epoch, "step": state.step},
            report,
            self._run.guard.build_weight_check(state),
        )
        self._written_at, self._last_position = self._clock(), (state.step, state.phase)
