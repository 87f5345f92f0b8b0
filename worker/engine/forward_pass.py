"""The forward pass: computes the raw scores and the mean loss of a batch.

Axes: B samples of a batch, H and W pixels, C channels.
"""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from worker.engine.device import Placement
from worker.engine.loss_weighting import WeightedMean
from worker.engine.mixing import MixPairs


class ForwardPass:
    """Computes scores in the placement's precision, and the loss always in float32."""

    def __init__(
        self,
        network: nn.Module,
        preprocess: nn.Module,
        loss: nn.Module,
        placement: Placement,
        eval_modules: Sequence[nn.Module] = (),
    ) -> None:
        """`eval_modules`: modules of the network that stay in evaluation mode during training."""
        self.network = network
        self._preprocess = preprocess
        self._loss = WeightedMean(loss)
        self._autocast = placement.autocast()
        self._eval_modules = tuple(eval_modules)

    def train(self) -> None:
        """Put the network into training mode, except its `eval_modules`."""
        self.network.train()
        for module in self._eval_modules:
            module.eval()

    def predict(self, images: Tensor) -> Tensor:
        """Return the raw scores, float32 (B, num_outputs), for images, uint8 (B, H, W, C)."""
        return self.compute_scores(self.preprocess(images))

    def preprocess(self, images: Tensor) -> Tensor:
        """Return the network's input, (B, C, H, W), for images, uint8 (B, H, W, C)."""
        inputs: Tensor = self._preprocess(images)
        return inputs

    def compute_scores(self, inputs: Tensor) -> Tensor:
        """Return the raw scores, float32 (B, num_outputs), for preprocessed inputs."""
        with self._autocast:
            pred: Tensor = self.network(inputs)
        return pred.float()

    def copy_with_network(self, network: nn.Module) -> "ForwardPass":
        """Return a copy that uses a different network."""
        other = copy.copy(self)
        other.network = network
        return other

    def compute_loss(
        self, pred: Tensor, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None
    ) -> Tensor:
        """Return the mean loss, a scalar. `pairs` describes how the samples were mixed."""
        loss: Tensor = self._loss(pred, targets, weights, pairs)
        return loss

    def compute_total_weight(
        self, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None
    ) -> Tensor | None:
        """Return the total weight of the batch. None: every sample has weight 1."""
        return self._loss.compute_total_weight(targets, weights, pairs)
