"""Checks the engine against known values and prints JSON: `python -m worker.engine.selftest`.

Source of the values: the workshop "Deep learning with R and torch", 2023; PyTorch gives the same digits.
"""

import json
import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worker.engine import losses
from worker.engine.optimizers import build_optimizer, build_parameter_groups

CPU = torch.device("cpu")


class SelfTestCheck(NamedTuple):
    """An actual and an expected value. `tolerance` is the largest accepted relative difference."""

    name: str
    actual: float
    expected: float
    tolerance: float

    @property
    def is_passed(self) -> bool:
        return math.isclose(self.actual, self.expected, rel_tol=self.tolerance, abs_tol=1e-30)


class Point(nn.Module):
    """A trainable point (x1, x2), and the functions of the point that the checks minimize."""

    def __init__(self, *start: float, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.tensor(start, dtype=dtype))

    def paraboloid(self) -> Tensor:
        """Return 0.2 x1^2 + 0.2 x2^2 - 5."""
        return 0.2 * self.position.square().sum() - 5

    def rosenbrock(self) -> Tensor:
        """Return (1 - x1)^2 + 5 (x2 - x1^2)^2, with the minimum at (1, 1)."""
        x1, x2 = self.position
        value: Tensor = (1 - x1) ** 2 + 5 * (x2 - x1**2) ** 2
        return value


def run_checks() -> list[SelfTestCheck]:
    """Run all checks. They take about a second."""
    return [
        *check_autograd(),
        *check_gradient_descent(),
        *check_lbfgs(None, [20, 7], 4.547474e-12),
        *check_lbfgs("strong_wolfe", [22], 6.87e-12),
        *check_losses(),
    ]


def check_autograd() -> Iterator[SelfTestCheck]:
    point = Point(2.0, 2.0)
    value = point.paraboloid()
    value.backward()  # type: ignore[no-untyped-call]
    assert point.position.grad is not None  # noqa: S101 - for the type checker
    yield SelfTestCheck("autograd: value", value.item(), -3.4, 1e-6)
    yield SelfTestCheck("autograd: gradient", point.position.grad[0].item(), 0.8, 1e-6)


def check_gradient_descent() -> Iterator[SelfTestCheck]:
    """Check 1000 steps of gradient descent on the Rosenbrock function, without and with torch's SGD, from (-1, 1).

    Without SGD, each step is rounded twice, as in the workshop. torch's SGD rounds once, so its result differs by 7e-5.
    """
    point, by_sgd = Point(-1.0, 1.0), Point(-1.0, 1.0)
    optimizer = build_optimizer(build_parameter_groups(by_sgd), CPU, {"lr": 0.01}, torch.optim.SGD)
    expected = {100: 0.3502924, 500: 0.003990697, 1000: 6.962555e-05}
    value = other = torch.zeros(())
    for step in range(1, 1001):
        point.zero_grad()
        optimizer.zero_grad()
        value, other = point.rosenbrock(), by_sgd.rosenbrock()
        (value + other).backward()  # type: ignore[no-untyped-call]
        assert point.position.grad is not None  # noqa: S101 - for the type checker
        if step in expected:
            yield SelfTestCheck(f"rosenbrock: step {step}", value.item(), expected[step], 1e-6)
        with torch.no_grad():
            point.position.sub_(0.01 * point.position.grad)
        optimizer.step()
    yield SelfTestCheck("rosenbrock: by sgd", other.item(), expected[1000], 1e-4)
    for name, actual, end in zip(("x1", "x2"), point.position.tolist(), (0.9918, 0.9830), strict=True):
        yield SelfTestCheck(f"rosenbrock: {name}", actual, end, 1e-4)


def check_lbfgs(line_search: str | None, evaluations: list[int], least: float) -> Iterator[SelfTestCheck]:
    """Check L-BFGS on the Rosenbrock function, with or without a line search."""
    point, values = Point(-1.0, 1.0, dtype=torch.float64), list[float]()
    optimizer = build_optimizer(
        build_parameter_groups(point), CPU, {"lr": 1.0, "line_search_fn": line_search}, torch.optim.LBFGS
    )

    def value() -> float:
        optimizer.zero_grad()
        loss = point.rosenbrock()
        loss.backward()  # type: ignore[no-untyped-call]
        values.append(loss.item())
        return values[-1]

    name = f"lbfgs, {line_search or 'no line search'}"
    for number, expected in enumerate(evaluations, start=1):
        num_before = len(values)
        optimizer.step(value)
        yield SelfTestCheck(f"{name}: evaluations of step {number}", len(values) - num_before, expected, 0.0)
    yield SelfTestCheck(f"{name}: least", values[-1], least, 0.2)


SCORES, TRUTH = [3.0, 2.7, -1.2, 7.7, 1.9], [1.0, 0.0, 0.0, 1.0, 1.0]
LOGITS = [[1.2, 7.7, -1.0], [1.2, -2.1, -1.0], [0.2, -0.7, 2.5], [0.0, -0.3, -1.0], [1.2, 0.1, 3.2]]
CLASSES = [1, 0, 2, 0, 2]


def check_losses() -> Iterator[SelfTestCheck]:
    """Check the losses. The classification losses are computed from raw scores and from log probabilities."""
    scores, truth, logits = (torch.tensor(values, dtype=torch.float64) for values in (SCORES, TRUTH, LOGITS))
    ones, classes = torch.ones(2, 2, dtype=torch.float64), torch.tensor(CLASSES)
    yield SelfTestCheck("loss: mse", nn.MSELoss()(ones, 0.1 * ones).item(), 0.81, 1e-6)
    yield SelfTestCheck("loss: bce_with_logits", nn.BCEWithLogitsLoss()(scores, truth).item(), 0.643351, 1e-6)
    yield SelfTestCheck("loss: bce of probabilities", nn.BCELoss()(scores.sigmoid(), truth).item(), 0.643351, 1e-6)
    yield SelfTestCheck(
        "loss: cross_entropy", losses.build_cross_entropy(None, 0.0)(logits, classes).item(), 0.23665, 1e-5
    )
    yield SelfTestCheck("loss: nll", losses.build_nll(None)(logits.log_softmax(1), classes).item(), 0.23665, 1e-5)


def check_to_dict(check: SelfTestCheck) -> dict[str, Any]:
    """Return the check and its result as JSON values."""
    return {**check._asdict(), "is_passed": check.is_passed}


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps([check_to_dict(check) for check in run_checks()]))
