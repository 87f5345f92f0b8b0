"""Test-time augmentation: averages the scores of a network over mirrored and shifted views of each image."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Views = Literal["mirror", "mirror_and_shift"]


class AveragedViews(nn.Module):
    """Averages the scores of a network over views of each image.

    `mirror`: the image and its mirror image. `mirror_and_shift`: also both, shifted by one pixel to the top left and to
    the bottom right, with reflected borders; all shifted views together count as much as the two views in place.

    Source: Krizhevsky, Sutskever and Hinton, 2012 (averaged predictions); Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
    Single GPU", 2024, section 3.7 (these views).
    """

    def __init__(self, network: nn.Module, views: Views) -> None:
        super().__init__()
        self.network = network
        self._is_shifted = views == "mirror_and_shift"

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (B, C, H, W), to the mean scores, (B, num_outputs). Shifted images need at least 2x2 pixels."""
        scores = self._average_mirrored(images)
        if not self._is_shifted:
            return scores
        height, width = images.shape[2:]
        padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
        top_left = self._average_mirrored(padded[:, :, :height, :width])
        bottom_right = self._average_mirrored(padded[:, :, 2:, 2:])
        return (2 * scores + top_left + bottom_right) / 4

    def _average_mirrored(self, images: Tensor) -> Tensor:
        total: Tensor = self.network(images) + self.network(images.flip(3))
        return total / 2
