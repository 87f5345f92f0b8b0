"""Builds the torch learning-rate schedulers whose arguments differ from the fields of the job spec."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from worker.engine.composite_optimizer import CompositeOptimizer, get_momentum_names


def build_one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: int,
    max_lr: float,
    pct_start: float,
    anneal_strategy: str,
    cycle_momentum: bool,
    base_momentum: float,
    max_momentum: float,
    div_factor: float,
    final_div_factor: float,
) -> OneCycleLR:
    """Build OneCycleLR over `total_steps` batches. Momentum or beta1 falls while the learning rate rises."""
    options: dict[str, Any] = {
        "max_lr": scale_lr_per_group(optimizer, max_lr),
        "total_steps": total_steps,
        "pct_start": pct_start,
        "anneal_strategy": anneal_strategy,
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
    }
    momentum_range: dict[str, Any] = {"base_momentum": base_momentum, "max_momentum": max_momentum}
    cycles_momentum = cycle_momentum and any(get_momentum_names(optimizer))
    if cycles_momentum and isinstance(optimizer, CompositeOptimizer):
        return CompositeOneCycleLR(optimizer, momentum_range, options)
    return OneCycleLR(optimizer, cycle_momentum=cycles_momentum, **momentum_range, **options)


class CompositeOneCycleLR(OneCycleLR):
    """OneCycleLR for parameter groups whose momenta have different names."""

    def __init__(
        self, optimizer: CompositeOptimizer, momentum_range: Mapping[str, float], options: Mapping[str, Any]
    ) -> None:
        """`momentum_range`: `base_momentum` and `max_momentum`. `options`: the other arguments of OneCycleLR."""
        self._momentum_range = dict(momentum_range)
        super().__init__(optimizer, cycle_momentum=False, **options)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rates of this step, and set the momenta as torch's method does."""
        momentum = self._compute_momentum()
        for group, name in zip(self.optimizer.param_groups, get_momentum_names(self.optimizer), strict=True):
            if name == "betas":
                group["betas"] = (momentum, *group["betas"][1:])
            elif name is not None:
                group[name] = momentum
        return super().get_lr()

    def _compute_momentum(self) -> float:
        first, second = self._schedule_phases
        is_first = self.last_epoch <= first["end_step"]
        phase, phase_start = (first, 0.0) if is_first else (second, first["end_step"])
        share = (self.last_epoch - phase_start) / (phase["end_step"] - phase_start)
        start_momentum, end_momentum = (
            self._momentum_range[phase["start_momentum"]],
            self._momentum_range[phase["end_momentum"]],
        )
        return float(self._anneal_func(start_momentum, end_momentum, share))  # type: ignore[no-untyped-call]


def build_cyclic(
    optimizer: Optimizer,
    *,
    base_lr: float,
    max_lr: float,
    step_size_up: int,
    step_size_down: int | None,
    mode: str,
    gamma: float,
) -> CyclicLR:
    """Build CyclicLR between two learning rates. It does not change momentum, because most optimizers have none."""
    return CyclicLR(
        optimizer,
        base_lr=scale_lr_per_group(optimizer, base_lr),
        max_lr=scale_lr_per_group(optimizer, max_lr),
        step_size_up=step_size_up,
        step_size_down=step_size_down,
        mode=mode,  # type: ignore[arg-type]  # the job spec accepts only torch's literals
        gamma=gamma,
        cycle_momentum=False,
    )


def build_lr_table(factors: Sequence[float]) -> Callable[[int], float]:
    """Return a function from a step to its factor. Steps beyond the end of `factors` have the last factor.

    The function has no state, because LambdaLR does not store functions in its `state_dict`.
    """
    return lambda step: factors[min(step, len(factors) - 1)]


def scale_lr_per_group(optimizer: Optimizer, lr: float) -> list[float]:
    """Return a learning rate for each parameter group: `lr` * group learning rate / default learning rate.

    The default learning rate of a `CompositeOptimizer` is its reference learning rate.
    """
    return [lr * (group["lr"] / optimizer.defaults["lr"]) for group in optimizer.param_groups]
