"""Combines optimizers of different parameters into one that schedulers, gradient scalers and snapshots can use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from worker.engine.muon import ConvolutionMuon
from worker.engine.optimizers import build_optimizer

MATRIX_AXES, KERNEL_AXES = 2, 4


class CompositeOptimizer(torch.optim.Optimizer):
    """An optimizer that consists of other optimizers (parts). The parts use its parameter groups and its state.

    The groups are in the order of the parts. `lr` is the reference learning rate: schedulers keep the ratio of each
    group's learning rate to `lr`.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer], *, lr: float) -> None:
        """`parts`: the optimizers to combine. They must not share parameters."""
        self._parts = tuple(parts)
        super().__init__([group for part in self._parts for group in part.param_groups], {"lr": lr})
        for part in self._parts:
            self.state.update(part.state)  # not empty for Adagrad, which creates its state in the constructor
        self._share_state()

    @property
    def momentum_names(self) -> list[str | None]:
        """The name of each group's momentum option, which schedules may change. None: the group has no momentum."""
        return [name for part in self._parts for name in get_momentum_names(part)]

    def _share_state(self) -> None:
        start = 0
        for part in self._parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            if isinstance(part, CompositeOptimizer):
                part._share_state()
            start = end

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share_state()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401
        """Step every part."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part in self._parts:
            part.step()
        return loss


class MuonWithAdamW(CompositeOptimizer):
    """Uses Muon for matrices and, if requested, for kernels of 2-d convolutions, and AdamW for other parameters."""

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        device: torch.device,
        *,
        lr: float,
        muon: Mapping[str, Any],
        adamw: Mapping[str, Any],
        kernels: Mapping[str, Any] | None = None,
    ) -> None:
        """`muon`, `adamw`, `kernels`: arguments of `torch.optim.Muon`, `torch.optim.AdamW` and `ConvolutionMuon`.

        Without `kernels`, AdamW updates the kernels of convolutions.
        """
        kinds: list[tuple[Any, Mapping[str, Any], int]] = [(torch.optim.Muon, muon, MATRIX_AXES)]
        if kernels is not None:
            kinds.append((ConvolutionMuon, kernels, KERNEL_AXES))
        special_axes = {axes for _, _, axes in kinds}
        parts: list[torch.optim.Optimizer] = []
        for kind, options, axes in (*kinds, (torch.optim.AdamW, adamw, 0)):
            own_groups = [
                {**group, "params": [p for p in group["params"] if (p.ndim if p.ndim in special_axes else 0) == axes]}
                for group in groups
            ]
            if own_groups := [group for group in own_groups if group["params"]]:
                parts.append(build_optimizer(own_groups, device, {"lr": lr, **options}, kind))
        super().__init__(parts, lr=lr)

    @property
    def momentum_names(self) -> list[str | None]:
        """None for every group: the momenta of Muon and AdamW differ, so schedules do not change them."""
        return [None] * len(self.param_groups)


def get_momentum_names(optimizer: torch.optim.Optimizer) -> list[str | None]:
    """Return the name of each group's momentum option: `betas` (Adam), `momentum` (SGD) or None."""
    if isinstance(optimizer, CompositeOptimizer):
        return optimizer.momentum_names
    name = next((name for name in ("betas", "momentum") if name in optimizer.defaults), None)
    return [name] * len(optimizer.param_groups)
