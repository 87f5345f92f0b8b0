"""Grad-CAM and embeddings with known results, and for every network that has them."""

import pytest
import torch
from torch import Tensor, nn

from models import registry
from models.explanations import UnsupportedArchitecture, compute_embeddings, grad_cam


class Pooled(nn.Module):
    """Feature maps, their mean over places, one linear layer: here class activation maps are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return scores


@pytest.fixture
def network() -> Pooled:
    torch.manual_seed(0)
    return Pooled().eval().requires_grad_(requires_grad=False)


def class_activation_map(network: Pooled, images: Tensor, chosen: int) -> Tensor:
    """Zhou et al., "Learning Deep Features for Discriminative Localization", 2016, without what speaks against."""
    with torch.no_grad():
        maps = torch.einsum("k,bkhw->bhw", network.head.weight[chosen], network.features(images)).relu()
        maps = nn.functional.interpolate(maps[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        return maps / maps.amax(dim=(1, 2), keepdim=True)


@pytest.mark.parametrize("chosen", [0, 3])
def test_grad_cam_over_global_pooling_equals_the_class_activation_map(network: Pooled, chosen: int) -> None:
    images = torch.randn(3, 3, 8, 10)
    found = grad_cam(network, images, torch.full((3,), chosen))
    torch.testing.assert_close(found.heat, class_activation_map(network, images, chosen))
    torch.testing.assert_close(found.scores, network(images))


def test_default_class_is_the_most_probable_one(network: Pooled) -> None:
    images = torch.randn(3, 3, 8, 8)
    likely = network(images).argmax(1)
    mixed = torch.tensor([-1, int(likely[1]), -1])
    torch.testing.assert_close(grad_cam(network, images, mixed).heat, grad_cam(network, images, likely).heat)


def test_heatmap_does_not_depend_on_other_images(network: Pooled) -> None:
    images, classes = torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 2])
    alone = grad_cam(network, images[1:2], classes[1:2]).heat
    torch.testing.assert_close(grad_cam(network, images, classes).heat[1:2], alone)


def test_heatmap_is_high_at_the_object() -> None:
    network = Pooled().eval()
    convolution = network.features[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.zero_()
        convolution.weight[0, :, 1, 1] = 1.0
        network.head.weight.zero_()
        network.head.weight[2, 0] = 1.0
    images = torch.zeros(1, 3, 16, 16)
    images[0, :, 2:4, 10:12] = 1.0
    heat = grad_cam(network, images, torch.tensor([2])).heat[0]
    row, column = divmod(int(heat.argmax()), 16)
    assert (row in (2, 3), column in (10, 11)) == (True, True)
    assert float(heat[8:].max()) == 0.0


def test_heatmap_is_zero_without_evidence(network: Pooled) -> None:
    with torch.no_grad():
        network.head.weight.fill_(-1.0)
    heat = grad_cam(network, torch.randn(2, 3, 8, 8), torch.tensor([0, -1])).heat
    assert torch.equal(heat, torch.zeros(2, 8, 8))


def test_embedding_is_the_input_of_the_last_layer(network: Pooled) -> None:
    images = torch.randn(2, 3, 8, 8)
    vectors = compute_embeddings(network, images)
    assert vectors.shape == (2, 6)
    torch.testing.assert_close(network.head(vectors), network(images))


def test_embedding_of_a_last_convolution_is_the_spatial_mean() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(compute_embeddings(network, images), network[1](network[0](images)).mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "options", "width"),
    [("convnet", {"channels": [4, 8], "head": [16]}, 16), ("mlp", {"hidden": [12]}, 12), ("resnet18", {}, 512)],
)
def test_registered_networks_have_embeddings(name: str, options: dict[str, object], width: int) -> None:
    network = registry.build_network(name, options, (3, 32, 32), 5).eval()
    assert compute_embeddings(network, torch.randn(2, 3, 32, 32)).shape == (2, width)


@pytest.mark.parametrize("name", ["convnet", "resnet18", "densenet121"])
def test_registered_networks_have_heatmaps(name: str) -> None:
    network = registry.build_network(name, {}, (3, 64, 64), 5).eval()
    found = grad_cam(network, torch.randn(2, 3, 64, 64), torch.tensor([-1, 4]))
    assert found.heat.shape == (2, 64, 64)
    assert 0 <= float(found.heat.min()) <= float(found.heat.max()) <= 1
    assert torch.isfinite(found.heat).all()


def test_network_without_feature_maps_is_rejected() -> None:
    network = registry.build_network("mlp", {}, (3, 8, 8), 5).eval()
    with pytest.raises(UnsupportedArchitecture, match="feature maps"):
        grad_cam(network, torch.randn(1, 3, 8, 8), torch.tensor([0]))
    with pytest.raises(UnsupportedArchitecture):
        compute_embeddings(nn.Flatten(), torch.randn(1, 3, 8, 8))
