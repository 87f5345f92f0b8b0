"""Averages of weights over a run, as a part of the step; what is averaged is validated and registered.

Each keeps a network of its own beside the one that is trained, so that nothing has to be swapped to look at it.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.state import RunState

BATCH_NORM = nn.modules.batchnorm._BatchNorm


class Averaging(ABC):
    """A second network that follows the first.

    Attributes:
        network: the average; the first one's weights before there is any.
        is_ready_each_epoch: false where it can be looked at only once the run is over.
    """

    is_ready_each_epoch = True

    def __init__(self, network: nn.Module) -> None:
        self._live_network = network
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def finalize(self) -> None:  # noqa: B027 - most have nothing to do
        """The run is over: `network` is what there is."""

    @abstractmethod
    def update_parameters(self, state: RunState) -> None:
        """Follow an optimizer step; `state.step` and `state.batch` are those before it."""

    def state_dict(self) -> dict[str, Any]:
        return {"network": dict(self.network.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.network.load_state_dict(state_dict["network"])

    def _move_toward_live_weights(self, share: float, *, include_statistics: bool) -> None:
        """Move by `share` of the way to the live weights; buffers are copied, or move too, `with_statistics`."""
        with torch.no_grad():
            pairs: list[tuple[Tensor, Tensor]] = list(
                zip(self.network.parameters(), self._live_network.parameters(), strict=True)
            )
            buffers = list(zip(self.network.buffers(), self._live_network.buffers(), strict=True))
            if include_statistics:
                pairs += [pair for pair in buffers if pair[0].is_floating_point()]
                buffers = [pair for pair in buffers if not pair[0].is_floating_point()]
            torch._foreach_lerp_([average for average, _ in pairs], [live.detach() for _, live in pairs], share)
            for mine, live in buffers:
                mine.copy_(live)


class Ema(Averaging):
    """An exponential mean, of batch norm's statistics too: avg = decay * avg + (1 - decay) * weights.

    While the run is young the decay is (1 + n) / (10 + n), so that the first weights are soon forgotten.
    Source: Polyak and Juditsky, 1992; TensorFlow's ExponentialMovingAverage for the young run.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        super().__init__(network)
        self._decay = decay

    def update_parameters(self, state: RunState) -> None:
        decay = min(self._decay, (1 + state.step) / (10 + state.step))
        self._move_toward_live_weights(1 - decay, include_statistics=True)


class Swa(Averaging):
    """The plain mean of the weights at the ends of the epochs from `start_epoch` on.

    Batch norm's statistics belong to no mean of weights: `update_batch_norm` measures them when the run is over.
    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.
    """

    is_ready_each_epoch = False

    def __init__(self, network: nn.Module, start_epoch: int) -> None:
        super().__init__(network)
        self._start_epoch = start_epoch
        self._num_averaged = 0

    def update_parameters(self, state: RunState) -> None:
        is_last_batch = state.batch + 1 == state.steps_per_epoch
        if is_last_batch and state.epoch >= self._start_epoch:
            self._num_averaged += 1
            self._move_toward_live_weights(1 / self._num_averaged, include_statistics=False)

    def finalize(self) -> None:
        """A run that ended before the first average has its last weights."""
        if self._num_averaged == 0:
            self._move_toward_live_weights(1.0, include_statistics=False)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "num_averaged": self._num_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._num_averaged = state_dict["num_averaged"]


class Lookahead(Averaging):
    """Slow weights that go `alpha` of the way to the fast ones every `k` steps; the fast ones then go on from there.

    Source: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", 2019.
    """

    def __init__(self, network: nn.Module, k: int = 5, alpha: float = 0.5) -> None:
        super().__init__(network)
        self._k = k
        self._alpha = alpha

    def update_parameters(self, state: RunState) -> None:
        if (state.step + 1) % self._k:
            return
        self._move_toward_live_weights(self._alpha, include_statistics=False)
        with torch.no_grad():
            for live, slow in zip(self._live_network.parameters(), self.network.parameters(), strict=True):
                live.copy_(slow)


def update_batch_norm(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Measure every batch norm's mean and variance anew over `inputs`, as the network takes them.

    Nothing else is in training mode: dropout neither disturbs them nor uses up random numbers.
    """
    norms = [m for m in network.modules() if isinstance(m, BATCH_NORM) and m.track_running_stats]
    if not norms:
        return
    momenta = [(norm, norm.momentum) for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in inputs:
            network(batch)
    network.eval()
    for norm, momentum in momenta:
        norm.momentum = momentum
