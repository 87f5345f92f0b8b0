"""Tests of hooks: their order, their names, and errors in them."""

import pytest

from tests.support.training import build_hook_recorder
from worker.engine.callback import Callback, CallbackError, CallbackHandler, DisabledCallbacks, TrainingError
from worker.engine.state import RunState


@pytest.fixture
def state() -> RunState:
    return RunState(max_epochs=1, steps_per_epoch=1)


class Named(Callback):
    def __init__(self, name: str, calls: list[str]) -> None:
        self._name, self._calls = name, calls

    def on_epoch_end(self, state: RunState) -> None:
        self._calls.append(self._name)

    def on_fit_end(self, state: RunState) -> None:
        self._calls.append(self._name)


def test_unknown_hook_fails_at_class_creation() -> None:
    with pytest.raises(TypeError, match=r"Typo defines unknown hooks: \['on_batch_end'\]"):
        type("Typo", (Callback,), {"on_batch_end": lambda self, state: None})


def test_hooks_run_in_order_and_closing_hooks_in_reverse(state: RunState) -> None:
    calls: list[str] = []
    hooks = CallbackHandler([Named("first", calls), Named("second", calls)])
    hooks.call("on_epoch_end", state)
    hooks.call("on_fit_end", state)
    assert calls == ["first", "second", "second", "first"]


def test_error_names_the_callback_and_hook(state: RunState) -> None:
    class Broken(Callback):
        def on_train_end(self, state: RunState) -> None:
            raise ZeroDivisionError("of mine")

    with pytest.raises(CallbackError, match="Broken failed in on_train_end: of mine"):
        CallbackHandler([Broken()]).call("on_train_end", state)


def test_training_error_passes_through_unmodified_hooks(state: RunState) -> None:
    class Strict(Callback):
        def on_train_end(self, state: RunState) -> None:
            raise TrainingError("enough")

    with pytest.raises(TrainingError, match=r"^enough$"):
        CallbackHandler([Strict()]).call("on_train_end", state)


def test_handler_stores_only_hooks_that_are_overridden_in_subclasses() -> None:
    hooks = CallbackHandler([Named("one", [])])
    hooks_by_name = {name for name, found in hooks._hooks.items() if found}
    assert hooks_by_name == {"on_epoch_end", "on_fit_end"}
    assert all(CallbackHandler([build_hook_recorder([])])._hooks.values())


class Fragile(Callback):
    is_optional = True

    def __init__(self) -> None:
        self.calls = 0

    def on_epoch_end(self, state: RunState) -> None:
        self.calls += 1
        raise TrainingError("not today")


def test_failing_optional_callback_is_disabled_with_a_warning(state: RunState) -> None:
    fragile, calls, warnings = Fragile(), list[str](), list[str]()
    hooks = CallbackHandler([fragile, Named("other", calls)], warnings.append)
    for _ in range(3):
        hooks.call("on_epoch_end", state)
    assert (fragile.calls, calls) == (1, ["other"] * 3)
    (text,) = warnings
    assert text.startswith("Fragile failed in on_epoch_end and is disabled")
    assert "not today" in text


def test_disabled_callback_stays_off_in_a_resumed_run(state: RunState) -> None:
    before, after = [Named("a", []), Fragile()], [Named("a", []), Fragile()]
    CallbackHandler(before).call("on_epoch_end", state)
    DisabledCallbacks(after).load_state_dict(DisabledCallbacks(before).state_dict())
    assert [callback.is_disabled for callback in after] == [False, True]
