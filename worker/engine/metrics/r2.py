"""The coefficient of determination, R²."""

import torch
from torch import Tensor
from torchmetrics import Metric


class R2Score(Metric):
    """Coefficient of determination, averaged over outputs, as in scikit-learn: 1 - squared errors / squared deviations.

    NaN for fewer than two samples. An output with equal targets scores 1 if all predictions are exact, otherwise 0.

    The sums are double-precision, and of targets relative to the first target. torchmetrics sums the squares of the
    targets in single precision and treats sums below 1e-4 as 0, so that it is wrong for targets with a large mean, such
    as years, and for small targets, such as 0.001.

    Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983 (shifted sums).
    """

    is_differentiable = True
    higher_is_better = True
    full_state_update = False
    origin: Tensor
    sum_error: Tensor
    sum_squared_error: Tensor
    residual: Tensor
    total: Tensor

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self._num_outputs = num_outputs
        # Snapshots from before this class have the states of torchmetrics' R2Score, whose origin is 0.
        for name in ("origin", "sum_error", "sum_squared_error", "residual"):
            self.add_state(name, default=torch.zeros(num_outputs), dist_reduce_fx=None)
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx=None)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, (B, num_outputs) each; with one output, also (B,)."""
        dtype = torch.float32 if target.device.type == "mps" else torch.float64  # MPS has no double precision
        preds, target = (values.reshape(-1, self._num_outputs).to(dtype) for values in (preds, target))
        self.origin = torch.where(self.total > 0, self.origin.to(dtype), target[0])
        shifted = target - self.origin
        self.sum_error = self.sum_error + shifted.sum(dim=0)
        self.sum_squared_error = self.sum_squared_error + shifted.square().sum(dim=0)
        self.residual = self.residual + (target - preds).square().sum(dim=0)
        self.total = self.total + len(target)

    def compute(self) -> Tensor:
        """Return the mean over outputs, a scalar."""
        deviations = self.sum_squared_error - self.sum_error.square() / self.total
        has_deviations = deviations > 0
        scores = 1 - self.residual / torch.where(has_deviations, deviations, torch.ones_like(deviations))
        constant = (self.residual == 0).to(scores.dtype)
        mean = torch.where(has_deviations, scores, constant).mean()
        return torch.where(self.total > 1, mean, torch.full_like(mean, float("nan")))
