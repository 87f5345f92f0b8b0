"""A first convolution that whitens patches of the image. Its weights are computed from images, not trained."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional


class WhiteningConv2d(nn.Conv2d):
    """Projects patches onto their principal components, scaled to unit variance, and onto the negatives of these.

    The weights are a buffer, because they are not trained; the bias is trained. Until `fit_weights` is called, the
    weights are random. Source: Page, "How to Train Your ResNet 8", 2019; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
    Single GPU", 2024, section 3.1.
    """

    def __init__(self, channels: int, kernel: int, *, bias: bool = True, eps: float = 5e-4) -> None:
        """`eps`: added to the variances, so that components with nearly no variance are not amplified."""
        super().__init__(channels, 2 * channels * kernel**2, kernel, bias=bias)
        self._eps = eps
        weight = self.weight.detach()
        del self.weight
        self.register_buffer("weight", weight)

    @torch.no_grad()
    def fit_weights(self, batches: Iterable[Tensor]) -> None:
        """Compute the weights from batches of inputs, float (B, C, H, W). At least one batch is required."""
        sums = torch.zeros(self.out_channels // 2, self.out_channels // 2, dtype=torch.float64)
        num_patches = 0
        for batch in batches:
            patches = functional.unfold(batch.cpu().double(), self.kernel_size).transpose(0, 1).flatten(1)
            sums += patches @ patches.T
            num_patches += patches.shape[1]
        variances, components = torch.linalg.eigh(sums / num_patches)  # in ascending order, one component per column
        scaled = (components / (variances.clamp(min=0.0) + self._eps).sqrt()).T.flip(0)
        self.weight.copy_(torch.cat([scaled, -scaled]).view_as(self.weight))


def init_dirac(convolution: nn.Module) -> None:
    """Make the first output channels of a convolution equal to its input channels. The others remain random.

    With several groups, this applies to each group. Source: Zagoruyko and Komodakis, "DiracNets", 2017; Jordan, 2024,
    section 3.2, for the partial identity.
    """
    assert isinstance(convolution, nn.Conv1d | nn.Conv2d | nn.Conv3d)  # noqa: S101 - the caller selects convolutions
    for group in convolution.weight.detach().chunk(convolution.groups):
        nn.init.dirac_(group[: group.shape[1]])
