"""What may watch a run, and the order in which watchers are called. It knows no callback by name."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from worker.engine.state import RunState

Hook = Callable[[RunState], None]
Warn = Callable[[str], None]
Leave = Callable[[str, str, bytes], None]
"""Takes a file that a callback leaves beside the weights: its name, media type and content."""


def noop(*_: object) -> None:
    """Where nobody asked for warnings or files."""


class TrainingError(Exception):
    """The run cannot go on, for a reason that its owner can act on; it passes through hooks unchanged."""


class CallbackError(RuntimeError):
    """A callback raised; says which one, and at which breakpoint."""


class Callback:
    """Hooks in the order in which they are called.

    ::

        on_fit_begin
          per epoch: on_epoch_begin
            on_train_begin
              per batch: on_train_batch_begin
                forward  -> on_train_batch_after_pred
                loss     -> on_train_batch_after_loss
                            on_train_batch_before_backward -> backward
                            on_train_batch_before_step     -> clip, optimizer step
                            on_train_batch_after_step
              on_train_batch_end
            on_train_end
            on_valid_begin
              per batch: on_valid_batch_begin, on_valid_batch_after_pred, on_valid_batch_after_loss, on_valid_batch_end
            on_valid_end
          on_epoch_end
        on_interrupt       left in the middle, to be resumed
        on_fit_end         also after an interrupt
        on_exception       instead of on_fit_end

    Hooks run in list order; the last three, which close, in reverse. A resumed run makes the calls that the
    stopped one had left, after an `on_fit_begin` of its own; a validation that was cut off begins anew.
    Source: luz, R/loop.R; `on_exception` is ours.

    Attributes:
        is_optional: what it does is of no consequence to the run: if it fails it is switched off, and the run goes on.
        is_off: it failed, and is not called any more, by a resumed run neither.
    """

    is_optional: ClassVar[bool] = False
    is_off: bool = False

    def on_fit_begin(self, state: RunState) -> None: ...
    def on_epoch_begin(self, state: RunState) -> None: ...
    def on_train_begin(self, state: RunState) -> None: ...
    def on_train_batch_begin(self, state: RunState) -> None: ...
    def on_train_batch_after_pred(self, state: RunState) -> None: ...
    def on_train_batch_after_loss(self, state: RunState) -> None: ...
    def on_train_batch_before_backward(self, state: RunState) -> None: ...
    def on_train_batch_before_step(self, state: RunState) -> None: ...
    def on_train_batch_after_step(self, state: RunState) -> None: ...
    def on_train_batch_end(self, state: RunState) -> None: ...
    def on_train_end(self, state: RunState) -> None: ...
    def on_valid_begin(self, state: RunState) -> None: ...
    def on_valid_batch_begin(self, state: RunState) -> None: ...
    def on_valid_batch_after_pred(self, state: RunState) -> None: ...
    def on_valid_batch_after_loss(self, state: RunState) -> None: ...
    def on_valid_batch_end(self, state: RunState) -> None: ...
    def on_valid_end(self, state: RunState) -> None: ...
    def on_epoch_end(self, state: RunState) -> None: ...
    def on_interrupt(self, state: RunState) -> None: ...
    def on_fit_end(self, state: RunState) -> None: ...
    def on_exception(self, state: RunState) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot must hold for this callback to go on: tensors, and what JSON can hold."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None: ...

    def load_from_other_run(self, saved: dict[str, Any]) -> None:
        """Go on with what one of this kind remembers of another run."""
        self.load_state_dict(saved)

    def __init_subclass__(cls) -> None:
        unknown = {name for name in vars(cls) if name.startswith("on_")} - set(HOOKS)
        if unknown:
            raise TypeError(f"{cls.__name__} defines unknown hooks: {sorted(unknown)}")


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
CLOSING = frozenset({"on_interrupt", "on_fit_end", "on_exception"})


class CallbackHandler:
    """The hooks that these callbacks override, by name; one that nobody overrides costs a dictionary look-up."""

    def __init__(self, callbacks: Sequence[Callback] = (), warn: Warn = noop) -> None:
        """`warn` is told of an optional callback that failed."""
        self.callbacks = tuple(callbacks)
        self._warn = warn
        self._by_name = {name: self._overridden(name) for name in HOOKS}

    def _overridden(self, name: str) -> tuple[tuple[Callback, Hook], ...]:
        ordered = reversed(self.callbacks) if name in CLOSING else self.callbacks
        return tuple(
            (callback, getattr(callback, name))
            for callback in ordered
            if getattr(type(callback), name) is not getattr(Callback, name)
        )

    def call(self, name: str, state: RunState) -> None:
        """Call every hook of that name.

        Raises:
            CallbackError: one of them raised, and the run cannot do without.
        """
        for callback, hook in self._by_name[name]:
            if callback.is_off:
                continue
            try:
                hook(state)
            except Exception as error:
                if callback.is_optional:
                    self._switch_off(callback, name, error)
                elif isinstance(error, TrainingError):
                    raise
                else:
                    raise CallbackError(f"{type(callback).__name__} failed in {name}: {error}") from error

    def _switch_off(self, callback: Callback, name: str, error: Exception) -> None:
        callback.is_off = True
        reason = f"{type(error).__name__}: {error}"
        self._warn(f"{type(callback).__name__} failed in {name} and is switched off; the run goes on. ({reason})")


class CallbackStatus:
    """Which of the optional callbacks are off, for the snapshot."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def state_dict(self) -> dict[str, Any]:
        return {"off": [i for i, callback in enumerate(self._callbacks) if callback.is_off]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for i, callback in enumerate(self._callbacks):
            callback.is_off = i in saved["off"]
