"""The loss of a batch as a mean by weight: of samples, of their classes, of the pairs that were mixed.

Axes: B samples of a batch.
"""

import torch
from torch import Tensor, nn

from worker.engine.losses import Focal, PerSampleLoss
from worker.engine.mixing import MixPairs

WEIGHTED_MEANS = (nn.CrossEntropyLoss, nn.NLLLoss, Focal)  # with class weights they divide by the sum of the weights
TINY = torch.finfo(torch.float32).tiny  # where all weights of a batch are 0, its loss is 0


class WeightedMean(nn.Module):
    """sum(w * loss) / sum(w), where w is a sample's own weight times that of its class.

    A mixed picture has two losses, against its own target and its partner's, and each counts by its share and by the
    weight of the sample whose target it is. For cross entropy without weights that is the loss against the mixed
    probabilities.
    """

    def __init__(self, loss: nn.Module) -> None:
        """`loss` gives a mean, and each sample's when its `reduction` is "none"."""
        super().__init__()
        self._plain, self._each = loss, PerSampleLoss(loss)
        self._of_class: Tensor | None = loss.weight if isinstance(loss, WEIGHTED_MEANS) else None

    def forward(
        self, pred: Tensor, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None
    ) -> Tensor:
        """A scalar, from scores (B, num_outputs), the samples' own targets and weights, and how they were mixed."""
        mass = self.mass(targets, weights, pairs)
        if mass is None and pairs is None:
            plain: Tensor = self._plain(pred, targets)
            return plain
        total = self._total(pred, targets, weights)
        if pairs is not None:
            partners = None if weights is None else weights[pairs.partner]
            total = torch.lerp(self._total(pred, targets[pairs.partner], partners), total, pairs.share)
        return total.mean() if mass is None else total.sum() / mass.clamp_min(TINY)

    def _total(self, pred: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        each: Tensor = self._each(pred, targets)
        return each if weights is None else each * weights

    def mass(self, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None) -> Tensor | None:
        """The sum of the weights, by which a batch counts among others; None where it is the number of samples."""
        counts = weights
        if self._of_class is not None:
            of_class = self._of_class[targets]
            counts = of_class if weights is None else of_class * weights
        if counts is None:
            return None
        return (counts if pairs is None else torch.lerp(counts[pairs.partner], counts, pairs.share)).sum()
