"""Fashion-MNIST: 70,000 images of clothes in the format of MNIST."""

from core.datasets.builtin.idx import build_idx_dataset

_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

FASHION_MNIST = build_idx_dataset(
    name="fashion_mnist",
    summary="70,000 images of clothes, 28 x 28 pixels, grey, 10 classes.",
    source='Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, https://github.com/zalandoresearch/fashion-mnist; '
    "files also in the Debian package dataset-fashion-mnist",
    licence="MIT",
    classes=_CLASSES,
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "fashion_mnist/raw"),
)
