"""Freezes parameters during a range of epochs."""

from fnmatch import fnmatchcase
from typing import ClassVar

from torch import nn

from worker.engine.averaging import BATCH_NORM
from worker.engine.callback import Callback
from worker.engine.optimizers import match_names
from worker.engine.state import RunState


class Freeze(Callback):
    """Freezes parameters whose names match the pattern `match`, from epoch `from_epoch` through `until_epoch`.

    The optimizer state of frozen parameters is kept. Batch norms with frozen parameters do not update their running
    statistics, unless `freeze_bn_stats` is false. Parameters are frozen before a batch instead of at the start of an
    epoch, because a resumed run can start in the middle of an epoch. While all parameters are frozen, nothing changes.
    """

    changes_trainable_parameters: ClassVar[bool] = True

    def __init__(
        self,
        network: nn.Module,
        match: str,
        *,
        from_epoch: int = 1,
        until_epoch: int | None = None,
        freeze_bn_stats: bool = True,
    ) -> None:
        """`until_epoch`: the last epoch in which the parameters are frozen (default: the last epoch of the run).

        Raises:
            UnknownParameters: the pattern matches no trainable parameter.
        """
        trainable = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        self._matching_parameters = [trainable[name] for name in match_names(match, list(trainable))]
        self._norms = _find_norms(network, match) if freeze_bn_stats else []
        self._from, self._until = from_epoch, until_epoch
        self._is_frozen = False

    def on_train_batch_begin(self, state: RunState) -> None:
        is_frozen = self._from <= state.epoch and (self._until is None or state.epoch <= self._until)
        if is_frozen is not self._is_frozen:
            self._toggle_freeze(is_frozen)
        if is_frozen:
            for norm in self._norms:
                norm.eval()

    def _toggle_freeze(self, is_frozen: bool) -> None:
        self._is_frozen = is_frozen
        for parameter in self._matching_parameters:
            parameter.requires_grad_(not is_frozen)
            parameter.grad = None


def _find_norms(network: nn.Module, match: str) -> list[nn.Module]:
    return [
        module
        for path, module in network.named_modules()
        if isinstance(module, BATCH_NORM)
        and any(fnmatchcase(f"{path}.{name}", match) for name, _ in module.named_parameters(recurse=False))
    ]
