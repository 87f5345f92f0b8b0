"""Learning-rate schedules of torch whose arguments are not simply a spec's fields."""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR


def one_cycle(
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
    """One cycle over `total_steps` batches; momentum, or Adam's beta1, moves against it."""
    return OneCycleLR(
        optimizer,
        max_lr=in_proportion(optimizer, max_lr),
        total_steps=total_steps,
        pct_start=pct_start,
        anneal_strategy=anneal_strategy,  # type: ignore[arg-type]  # the spec's own literal
        cycle_momentum=cycle_momentum and has_momentum(optimizer),
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )


def cyclic(
    optimizer: Optimizer,
    *,
    base_lr: float,
    max_lr: float,
    step_size_up: int,
    step_size_down: int | None,
    mode: str,
    gamma: float,
) -> CyclicLR:
    """Between two learning rates and back; momentum stays, as most optimizers have none to move."""
    return CyclicLR(
        optimizer,
        base_lr=in_proportion(optimizer, base_lr),
        max_lr=in_proportion(optimizer, max_lr),
        step_size_up=step_size_up,
        step_size_down=step_size_down,
        mode=mode,  # type: ignore[arg-type]  # the spec's own literal
        gamma=gamma,
        cycle_momentum=False,
    )


def table(factors: Sequence[float]) -> Callable[[int], float]:
    """The factor of each step, from 0; the last one stays. torch stores nothing of a function: it is in the spec."""
    return lambda step: factors[min(step, len(factors) - 1)]


def in_proportion(optimizer: Optimizer, lr: float) -> list[float]:
    """One learning rate a parameter group: `lr`, as much more or less as the group's own differs from the usual."""
    return [lr * (group["lr"] / optimizer.defaults["lr"]) for group in optimizer.param_groups]


def has_momentum(optimizer: Optimizer) -> bool:
    """Whether torch could move its momentum; a plain Adagrad has none, and OneCycleLR would refuse it."""
    return "momentum" in optimizer.defaults or "betas" in optimizer.defaults
