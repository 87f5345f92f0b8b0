"""The training loop, whole. It knows epochs and steps; it knows no network, loss or database."""

import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from worker.engine.callback import CallbackHandler
from worker.engine.state import RunState

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
B_contra = TypeVar("B_contra", contravariant=True)


class Batches(Protocol[B_co]):
    def epoch(self, number: int, start: int = 0) -> Iterator[B_co]:
        """The batches of that epoch from batch `start` on, always the same for the same number."""
        ...


class Step(Protocol[B_contra]):
    """What is done with a batch, and what an epoch of it amounts to."""

    def begin(self) -> None:
        """A phase begins: network in its mode, sums at zero."""
        ...

    def resume(self) -> None:
        """A phase goes on: network in its mode, sums as they were restored."""
        ...

    def __call__(self, batch: B_contra, state: RunState) -> None: ...

    def end(self) -> dict[str, float]:
        """Names and values of the phase, without the split."""
        ...


class Loop(Generic[B]):
    """Trains, validates and tells the hooks; `fit` goes on from wherever the state stands."""

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
        """Train until the state is done or interrupted; its `phase` then says which."""
        try:
            self._hooks.call("on_fit_begin", state)
            while not (state.is_done or state.is_interrupted):
                self._epoch(state)
            if state.is_interrupted and not state.is_done:
                self._hooks.call("on_interrupt", state)
            self._hooks.call("on_fit_end", state)
        except BaseException:
            self._hooks.call("on_exception", state)
            raise
        return state

    def _epoch(self, state: RunState) -> None:
        if state.phase == "end":
            self._open(state)
        began, before = self._clock(), state.seconds
        if state.phase == "train":
            self._train(state, began, before)
        if state.phase == "valid":
            self._validate(state)
            state.epoch_seconds = self._clock() - began
            state.seconds = before + state.epoch_seconds
        if state.is_interrupted and state.phase != "end":
            return
        self._hooks.call("on_epoch_end", state)

    def _open(self, state: RunState) -> None:
        state.epoch += 1
        state.batch, state.phase, state.wait_seconds = 0, "train", 0.0
        state.tags.clear()
        state.kept.clear()
        self._hooks.call("on_epoch_begin", state)

    def _train(self, state: RunState, began: float, before: float) -> None:
        state.is_training = True
        if state.batch == 0:
            self._train_step.begin()
            self._hooks.call("on_train_begin", state)
        else:
            self._train_step.resume()
        batches = self._train_batches.epoch(state.epoch, state.batch)
        try:
            self._train_on(batches, state, began, before)
        finally:
            close = getattr(batches, "close", None)  # a generator: ends its reader thread now, not when collected
            if close is not None:
                close()
        state.is_training = False
        if state.is_interrupted and state.batch < state.steps_per_epoch:
            return
        _take(state, "train", self._train_step.end())
        self._hooks.call("on_train_end", state)
        state.phase = "valid"

    def _train_on(self, batches: Iterator[B], state: RunState, began: float, before: float) -> None:
        asked = self._clock()
        for batch in batches:
            state.wait_seconds += self._clock() - asked
            self._hooks.call("on_train_batch_begin", state)
            self._train_step(batch, state)
            state.batch += 1
            state.step += 1
            asked = self._clock()
            state.seconds = before + asked - began
            self._hooks.call("on_train_batch_end", state)
            if state.is_interrupted or state.stop_immediately:
                return
            asked = self._clock()

    def _validate(self, state: RunState) -> None:
        if self._valid is not None and (state.is_interrupted or not self._valid_phase(state, *self._valid)):
            return
        state.phase = "end"

    def _valid_phase(self, state: RunState, batches: Batches[B], step: Step[B]) -> bool:
        """Whether it was carried through."""
        self._hooks.call("on_valid_begin", state)
        step.begin()
        for batch in batches.epoch(state.epoch):
            if state.is_interrupted:
                return False
            self._hooks.call("on_valid_batch_begin", state)
            step(batch, state)
            self._hooks.call("on_valid_batch_end", state)
        _take(state, "valid", step.end())
        self._hooks.call("on_valid_end", state)
        return True


def _take(state: RunState, split: str, values: dict[str, float]) -> None:
    state.metrics.update({f"{split}_{name}": value for name, value in values.items()})
