"""Tests of tagging epochs and of retaining their snapshots."""

from tests.support.training import end_epoch
from worker.engine.callbacks import ModelCheckpoint


def test_model_checkpoint_keeps_every_nth_epoch() -> None:
    callback = ModelCheckpoint(every_epochs=2)
    tags = []
    for epoch in (1, 2, 3, 4):
        state = end_epoch(epoch, 1.0)
        callback.on_epoch_end(state)
        tags.append(sorted(state.tags))
    assert tags == [["best"], ["kept"], [], ["kept"]]


def test_model_checkpoint_saves_only_improvements_with_save_best_only() -> None:
    callback = ModelCheckpoint(save_best_only=True)
    tags = []
    for epoch, loss in enumerate([2.0, 3.0, 1.0], start=1):
        state = end_epoch(epoch, loss)
        callback.on_epoch_end(state)
        tags.append(sorted(state.tags))
    assert tags == [["best", "kept"], [], ["best", "kept"]]


def list_retained_epochs(callback: ModelCheckpoint, losses: list[float], first: int = 1) -> list[list[int]]:
    history = []
    for epoch, loss in enumerate(losses, start=first):
        state = end_epoch(epoch, loss)
        callback.on_epoch_end(state)
        history.append(sorted(state.retained_epochs))
    return history


def test_model_checkpoint_drops_the_oldest_epochs() -> None:
    assert list_retained_epochs(ModelCheckpoint(every_epochs=2, keep=2), [1.0] * 6)[1::2] == [[2], [2, 4], [4, 6]]
    assert list_retained_epochs(ModelCheckpoint(save_best_only=True, keep=1), [3.0, 4.0, 2.0])[-1] == [3]
    assert list_retained_epochs(ModelCheckpoint(), [1.0] * 3)[-1] == [1, 2, 3]


def test_retained_epochs_survive_a_resume() -> None:
    first, second = ModelCheckpoint(keep=2), ModelCheckpoint(keep=2)
    list_retained_epochs(first, [1.0, 1.0])
    second.load_state_dict(first.state_dict())
    assert list_retained_epochs(second, [1.0], first=3) == [[2, 3]]
