"""Averages the weights of a network during training: EMA, SWA and Lookahead.

The average is updated after optimizer steps. The averaged weights are validated and registered instead of the weights
of the last step. They are stored in a separate network, so that validation does not have to swap weights.
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
    """The base class of averaging methods. Stores the averaged weights in a copy of the trained network.

    Attributes:
        network: a copy of the network with the averaged weights. Before the first update, it has the initial weights.
        is_ready_each_epoch: whether the average can be validated after each epoch, not only at the end of the run.
    """

    is_ready_each_epoch = True

    def __init__(self, network: nn.Module) -> None:
        self._live_network = network
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def finalize(self) -> None:  # noqa: B027 - optional
        """Compute the final averaged weights at the end of the run. By default, do nothing."""

    @abstractmethod
    def update_parameters(self, state: RunState) -> None:
        """Update the average after an optimizer step. `state.step` and `state.batch` do not include this step yet."""

    def state_dict(self) -> dict[str, Any]:
        return {"network": dict(self.network.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.network.load_state_dict(state_dict["network"])

    def _move_toward_live_weights(self, share: float, *, include_statistics: bool) -> None:
        """Move the average toward the trained weights: average += share * (trained - average).

        Buffers are copied. With `include_statistics`, floating-point buffers are averaged like the weights instead.
        """
        with torch.no_grad():
            pairs: list[tuple[Tensor, Tensor]] = list(
                zip(self.network.parameters(), self._live_network.parameters(), strict=True)
            )
            buffers = list(zip(self.network.buffers(), self._live_network.buffers(), strict=True))
            if include_statistics:
                pairs += [pair for pair in buffers if pair[0].is_floating_point()]
                buffers = [pair for pair in buffers if not pair[0].is_floating_point()]
            torch._foreach_lerp_([average for average, _ in pairs], [live.detach() for _, live in pairs], share)
            for average, live in buffers:
                average.copy_(live)


class Ema(Averaging):
    """An exponential moving average of weights and batch norm statistics: avg = decay * avg + (1 - decay) * weights.

    The decay is at most (1 + n) / (10 + n) at step n, so that the initial weights lose their influence quickly.
    Source: Polyak and Juditsky, 1992; TensorFlow's ExponentialMovingAverage for the early decay.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        super().__init__(network)
        self._decay = decay

    def update_parameters(self, state: RunState) -> None:
        decay = min(self._decay, (1 + state.step) / (10 + state.step))
        self._move_toward_live_weights(1 - decay, include_statistics=True)


class Swa(Averaging):
    """The mean of the weights at the end of each epoch, from epoch `start_epoch` on.

    Batch norm statistics are not averaged. `update_batch_norm` recomputes them at the end of the run.
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
        """Copy the current weights if no epoch was averaged."""
        if self._num_averaged == 0:
            self._move_toward_live_weights(1.0, include_statistics=False)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "num_averaged": self._num_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._num_averaged = state_dict["num_averaged"]


class Lookahead(Averaging):
    """The slow weights of Lookahead.

    Every `k` steps: slow += alpha * (trained - slow). The slow weights then replace the trained weights. With
    `final_alpha`, the fraction changes from `alpha` to `final_alpha` with the cube of the progress of the run. In the
    epochs by which a run is extended, it is `final_alpha`.

    Source: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", 2019; Jordan, "94% on CIFAR-10 in 3.29
    Seconds on a Single GPU", 2024, section 3.4, for the changing fraction and the averaged statistics.
    """

    def __init__(
        self,
        network: nn.Module,
        k: int = 5,
        alpha: float = 0.5,
        *,
        final_alpha: float | None = None,
        average_statistics: bool = False,
    ) -> None:
        """`average_statistics`: average the batch norm statistics like the weights."""
        super().__init__(network)
        self._k = k
        self._alpha = alpha
        self._final_alpha = alpha if final_alpha is None else final_alpha
        self._average_statistics = average_statistics
        self._num_planned_steps: int | None = None

    def update_parameters(self, state: RunState) -> None:
        if (state.step + 1) % self._k:
            return
        share = self._compute_share(state)
        self._move_toward_live_weights(share, include_statistics=self._average_statistics)
        live_tensors: list[Tensor] = [*self._live_network.parameters(), *self._live_network.buffers()]
        slow_tensors: list[Tensor] = [*self.network.parameters(), *self.network.buffers()]
        with torch.no_grad():
            for live, slow in zip(live_tensors, slow_tensors, strict=True):
                live.copy_(slow)

    def _compute_share(self, state: RunState) -> float:
        if self._num_planned_steps is None:
            self._num_planned_steps = state.max_epochs * state.steps_per_epoch
        progress = min(1.0, (state.step + 1) / self._num_planned_steps)
        return self._alpha + (self._final_alpha - self._alpha) * progress**3

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "num_planned_steps": self._num_planned_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._num_planned_steps = state_dict.get("num_planned_steps")  # snapshots of version 0.1 do not have it


def update_batch_norm(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Recompute the running mean and variance of every batch norm layer from `inputs`.

    Only batch norms are put into training mode: dropout stays disabled and draws no random numbers.
    """
    norms = [m for m in network.modules() if isinstance(m, BATCH_NORM) and m.track_running_stats]
    if not norms:
        return
    momenta = [(norm, norm.momentum) for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None: the running statistics are the mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in inputs:
            network(batch)
    network.eval()
    for norm, momentum in momenta:
        norm.momentum = momentum
