"""Computes the mean loss of a batch, weighted by sample weights, class weights and the shares of mixed images.

Axes: B samples of a batch.
"""

import torch
from torch import Tensor, nn

from worker.engine.losses import Focal, UnreducedLoss
from worker.engine.mixing import MixPairs

WEIGHTED_MEANS = (nn.CrossEntropyLoss, nn.NLLLoss, Focal)  # these losses divide by the sum of the class weights
TINY = torch.finfo(torch.float32).tiny  # minimum divisor: the loss is 0 instead of NaN if all weights of a batch are 0


class WeightedMean(nn.Module):
    """Computes sum(w * loss) / sum(w), where w is the sample weight times the class weight.

    A mixed image has two losses: against its own target and against its partner's. Each loss is multiplied by the share
    of its image and by the weight of the sample that the target belongs to. For cross entropy without weights, this
    equals the loss against the mixed one-hot targets.
    """

    def __init__(self, loss: nn.Module) -> None:
        """`loss` returns a mean, or the loss of each sample if its `reduction` is "none"."""
        super().__init__()
        self._mean_loss, self._per_sample_loss = loss, UnreducedLoss(loss)
        self._class_weights: Tensor | None = loss.weight if isinstance(loss, WEIGHTED_MEANS) else None

    def forward(
        self, pred: Tensor, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None
    ) -> Tensor:
        """Return the weighted mean loss, a scalar, for scores (B, num_outputs)."""
        total_weight = self.compute_total_weight(targets, weights, pairs)
        if total_weight is None and pairs is None:
            plain: Tensor = self._mean_loss(pred, targets)
            return plain
        total = self._compute_weighted_losses(pred, targets, weights)
        if pairs is not None:
            partners = None if weights is None else weights[pairs.partner]
            total = torch.lerp(
                self._compute_weighted_losses(pred, targets[pairs.partner], partners), total, pairs.share
            )
        return total.mean() if total_weight is None else total.sum() / total_weight.clamp_min(TINY)

    def _compute_weighted_losses(self, pred: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        each: Tensor = self._per_sample_loss(pred, targets)
        return each if weights is None else each * weights

    def compute_total_weight(
        self, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None
    ) -> Tensor | None:
        """Return the sum of the weights. None: every sample has weight 1."""
        counts = weights
        if self._class_weights is not None:
            class_weights = self._class_weights[targets]
            counts = class_weights if weights is None else class_weights * weights
        if counts is None:
            return None
        return (counts if pairs is None else torch.lerp(counts[pairs.partner], counts, pairs.share)).sum()
