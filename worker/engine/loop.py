"""The training loop: epochs, steps and hooks. It does not depend on the network, the loss or the database."""

import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from worker.engine.callback import CallbackHandler
from worker.engine.state import RunState

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
B_contra = TypeVar("B_contra", contravariant=True)


class Batches(Protocol[B_co]):
    """A source of batches."""

    def iter_epoch(self, number: int, start: int = 0) -> Iterator[B_co]:
        """Yield the batches of epoch `number`, from batch `start` on. Every call yields the same batches."""
        ...


class Step(Protocol[B_contra]):
    """Processes batches, and computes the metrics of a phase: training or validation."""

    def start_phase(self) -> None:
        """Put the network into training or evaluation mode, and reset the metrics."""
        ...

    def resume_phase(self) -> None:
        """Put the network into training or evaluation mode, and keep the restored metrics."""
        ...

    def __call__(self, batch: B_contra, state: RunState) -> None: ...

    def compute_metrics(self) -> dict[str, float]:
        """Return the metrics of the phase, keyed by name without the prefix `train_` or `valid_`."""
        ...


class Loop(Generic[B]):
    """Trains and validates epoch by epoch, and calls the hooks. `fit` continues from the state that it is given."""

    def __init__(
        self,
        train: tuple[Batches[B], Step[B]],
        valid: tuple[Batches[B], Step[B]] | None,
        hooks: CallbackHandler,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._train_batches, self._train_step = train
        self._valid = valid
        self._hooks = hooks
        self._clock = clock

    def fit(self, state: RunState) -> RunState:
        """Train until the run is complete or interrupted, and return the state."""
        try:
            self._hooks.call("on_fit_begin", state)
            while not (state.is_done or state.is_interrupted):
                self._run_epoch(state)
            if state.is_interrupted and not state.is_done:
                self._hooks.call("on_interrupt", state)
            self._hooks.call("on_fit_end", state)
        except BaseException:
            self._hooks.call("on_exception", state)
            raise
        return state

    def _run_epoch(self, state: RunState) -> None:
        if state.phase == "end":
            self._start_epoch(state)
        started_at, seconds_before = self._clock(), state.seconds
        if state.phase == "train":
            self._train_epoch(state, started_at, seconds_before)
        if state.phase == "valid":
            self._validate_epoch(state)
            state.epoch_seconds = self._clock() - started_at
            state.seconds = seconds_before + state.epoch_seconds
        if state.is_interrupted and state.phase != "end":
            return
        self._hooks.call("on_epoch_end", state)

    def _start_epoch(self, state: RunState) -> None:
        state.epoch += 1
        state.batch, state.phase, state.wait_seconds = 0, "train", 0.0
        state.tags.clear()
        state.retained_epochs.clear()
        self._hooks.call("on_epoch_begin", state)

    def _train_epoch(self, state: RunState, started_at: float, seconds_before: float) -> None:
        state.is_training = True
        if state.batch == 0:
            self._train_step.start_phase()
            self._hooks.call("on_train_begin", state)
        else:
            self._train_step.resume_phase()
        batches = self._train_batches.iter_epoch(state.epoch, state.batch)
        try:
            self._run_train_batches(batches, state, started_at, seconds_before)
        finally:
            close = getattr(batches, "close", None)  # end the generator's reader thread now, not at garbage collection
            if close is not None:
                close()
        state.is_training = False
        if state.is_interrupted and state.batch < state.steps_per_epoch:
            return
        _record_metrics(state, "train", self._train_step.compute_metrics())
        self._hooks.call("on_train_end", state)
        state.phase = "valid"

    def _run_train_batches(
        self, batches: Iterator[B], state: RunState, started_at: float, seconds_before: float
    ) -> None:
        if state.stop_immediately:  # a run that was interrupted at this step resumes without another one
            return
        wait_started_at = self._clock()
        for batch in batches:
            state.wait_seconds += self._clock() - wait_started_at
            self._hooks.call("on_train_batch_begin", state)
            self._train_step(batch, state)
            state.batch += 1
            state.step += 1
            wait_started_at = self._clock()
            state.seconds = seconds_before + wait_started_at - started_at
            self._hooks.call("on_train_batch_end", state)
            if state.is_interrupted or state.stop_immediately:
                return
            wait_started_at = self._clock()

    def _validate_epoch(self, state: RunState) -> None:
        if self._valid is not None and (state.is_interrupted or not self._run_validation(state, *self._valid)):
            return
        state.phase = "end"

    def _run_validation(self, state: RunState, batches: Batches[B], step: Step[B]) -> bool:
        """Validate the network. Return False if the run was interrupted."""
        self._hooks.call("on_valid_begin", state)
        step.start_phase()
        for batch in batches.iter_epoch(state.epoch):
            if state.is_interrupted:
                return False
            self._hooks.call("on_valid_batch_begin", state)
            step(batch, state)
            self._hooks.call("on_valid_batch_end", state)
        _record_metrics(state, "valid", step.compute_metrics())
        self._hooks.call("on_valid_end", state)
        return True


def _record_metrics(state: RunState, split: str, values: dict[str, float]) -> None:
    state.metrics.update({f"{split}_{name}": value for name, value in values.items()})
