"""Interrupts the run at the milestones of its spec."""

from collections.abc import Sequence

from worker.engine.callback import Callback
from worker.engine.state import RunState


class MilestoneCallback(Callback):
    """Interrupts the run at the end of each milestone, unless the run is complete.

    Add this callback after all callbacks that can complete the run. It ignores epochs that were complete before an
    extension, or that another run completed.

    Args:
        epochs: the milestones.
        passed_epoch: the milestone at which the job paused last; 0: it has not. A run that is restored at a later
            milestone was killed before the job paused, so it is interrupted at once. None: a restored run continues.

    Attributes:
        reached: the milestone at which this callback interrupted the run, or None.
    """

    def __init__(self, epochs: Sequence[int], passed_epoch: int | None) -> None:
        self.reached: int | None = None
        self._epochs = frozenset(epochs)
        self._passed_epoch = passed_epoch

    def on_fit_begin(self, state: RunState) -> None:
        if self._passed_epoch is not None and state.phase == "end":
            self._interrupt_at_milestone(state)

    def on_epoch_end(self, state: RunState) -> None:
        self._interrupt_at_milestone(state)

    def _interrupt_at_milestone(self, state: RunState) -> None:
        is_passed = state.epoch <= max(self._passed_epoch or 0, state.first_epoch)
        if state.epoch in self._epochs and not is_passed and not state.is_done:
            self.reached = state.epoch
            state.interrupt()
