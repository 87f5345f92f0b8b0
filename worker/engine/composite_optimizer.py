"""Several optimizers, each on parameters of its own, that are one to schedules, scalers and snapshots."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from worker.engine.optimizers import build_optimizer


class CompositeOptimizer(torch.optim.Optimizer):
    """Optimizers that share this one's groups and state, which hence hold all there is to hold.

    Groups lie in the order of the parts. `lr` counts as the usual learning rate: schedules keep others' ratio to it.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer], *, lr: float) -> None:
        """No parameter is of two parts."""
        self._parts = tuple(parts)
        super().__init__([group for part in self._parts for group in part.param_groups], {"lr": lr})
        for part in self._parts:
            self.state.update(part.state)  # Adagrad has some before its first step
        self._share_state()

    @property
    def momentum_names(self) -> list[str | None]:
        """Of each group, what the momentum is called that a schedule may move; None where there is none."""
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
        """One step of every part."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part in self._parts:
            part.step()
        return loss


class MuonWithAdamW(CompositeOptimizer):
    """Muon for matrices, AdamW for everything else."""

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        device: torch.device,
        *,
        lr: float,
        muon: Mapping[str, Any],
        adamw: Mapping[str, Any],
    ) -> None:
        """`muon` and `adamw` are torch's own arguments of the two."""
        kinds: tuple[tuple[Any, Mapping[str, Any], bool], ...] = (
            (torch.optim.Muon, muon, True),
            (torch.optim.AdamW, adamw, False),
        )
        parts: list[torch.optim.Optimizer] = []
        for kind, options, is_matrix in kinds:
            own_groups = [
                {**group, "params": [p for p in group["params"] if (p.ndim == 2) is is_matrix]} for group in groups
            ]
            if own_groups := [group for group in own_groups if group["params"]]:
                parts.append(build_optimizer(own_groups, device, {"lr": lr, **options}, kind))
        super().__init__(parts, lr=lr)

    @property
    def momentum_names(self) -> list[str | None]:
        """None: the momentum of the one is not the other's, and neither is moved."""
        return [None] * len(self.param_groups)


def get_momentum_names(optimizer: torch.optim.Optimizer) -> list[str | None]:
    """Of each group, what the momentum is called that a schedule may move: `betas` of Adam, `momentum` of SGD."""
    if isinstance(optimizer, CompositeOptimizer):
        return optimizer.momentum_names
    name = next((name for name in ("betas", "momentum") if name in optimizer.defaults), None)
    return [name] * len(optimizer.param_groups)
