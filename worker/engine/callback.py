"""The base class of callbacks, and the handler that calls them. This module does not import specific callbacks."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from worker.engine.state import RunState

Hook = Callable[[RunState], None]
Warn = Callable[[str], None]
SaveArtifact = Callable[[str, str, bytes], None]
"""Stores a file that a callback created. Arguments: name, media type, content."""


def noop(*_: object) -> None:
    """Do nothing. This is the default for arguments of the types `Warn` and `SaveArtifact`."""


class TrainingError(Exception):
    """An error that ends the run and that the job's owner can fix. `CallbackHandler` raises it unchanged."""


class CallbackError(RuntimeError):
    """A callback raised an error. The message names the callback and the hook."""


class Callback:
    """The base class of callbacks. Its hooks, in the order in which they are called:

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
        on_interrupt       if the run is interrupted; it can be resumed
        on_fit_end         also after an interrupt
        on_exception       after an error, instead of on_fit_end

    Callbacks are called in the order of the list. For the last three hooks, the order is reversed. A resumed run calls
    `on_fit_begin` again, then the hooks that the interrupted run did not call. An interrupted validation starts again
    from its first batch.
    Source: luz, R/loop.R, which has no `on_exception`.

    Attributes:
        is_optional: whether the run continues, without the callback, if the callback fails.
        changes_trainable_parameters: whether the callback changes `requires_grad` of parameters during the run.
        is_disabled: whether the callback failed. A failed callback is not called again, even in a resumed run.
    """

    is_optional: ClassVar[bool] = False
    changes_trainable_parameters: ClassVar[bool] = False
    is_disabled: bool = False

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
        """Return the state that a snapshot stores to resume this callback: tensors and JSON values."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...

    def load_from_other_run(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a callback of the same class from a different run."""
        self.load_state_dict(state_dict)

    def restart(self) -> None:
        """Discard the state that would end the run early, because a finished run is extended. Default: do nothing."""

    def __init_subclass__(cls) -> None:
        unknown = {name for name in vars(cls) if name.startswith("on_")} - set(HOOKS)
        if unknown:
            raise TypeError(f"{cls.__name__} defines unknown hooks: {sorted(unknown)}")


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
CLOSING_HOOKS = frozenset({"on_interrupt", "on_fit_end", "on_exception"})


class CallbackHandler:
    """Calls the hooks of several callbacks by name. It skips hooks that a callback does not override."""

    def __init__(self, callbacks: Sequence[Callback] = (), warn: Warn = noop) -> None:
        """Create a handler. The function `warn` is called with a message when an optional callback fails."""
        self.callbacks = tuple(callbacks)
        self._warn = warn
        self._hooks = {name: self._find_overrides(name) for name in HOOKS}

    def _find_overrides(self, name: str) -> tuple[tuple[Callback, Hook], ...]:
        ordered = reversed(self.callbacks) if name in CLOSING_HOOKS else self.callbacks
        return tuple(
            (callback, getattr(callback, name))
            for callback in ordered
            if getattr(type(callback), name) is not getattr(Callback, name)
        )

    def call(self, name: str, state: RunState) -> None:
        """Call the hook `name` of every callback that is not disabled.

        Raises:
            CallbackError: a callback that is not optional raised an error.
            TrainingError: a callback ended the run.
        """
        for callback, hook in self._hooks[name]:
            if callback.is_disabled:
                continue
            try:
                hook(state)
            except Exception as error:
                if callback.is_optional:
                    self._disable(callback, name, error)
                elif isinstance(error, TrainingError):
                    raise
                else:
                    raise CallbackError(f"{type(callback).__name__} failed in {name}: {error}") from error

    def _disable(self, callback: Callback, name: str, error: Exception) -> None:
        callback.is_disabled = True
        reason = f"{type(error).__name__}: {error}"
        self._warn(f"{type(callback).__name__} failed in {name} and is disabled; the run continues. ({reason})")


class DisabledCallbacks:
    """Stores in the snapshot which optional callbacks are disabled."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def state_dict(self) -> dict[str, Any]:
        return {"off": [i for i, callback in enumerate(self._callbacks) if callback.is_disabled]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for i, callback in enumerate(self._callbacks):
            callback.is_disabled = i in state_dict["off"]
