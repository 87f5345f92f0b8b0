"""MNIST: 70,000 handwritten digits."""

from core.datasets.builtin.idx import build_idx_dataset

MNIST = build_idx_dataset(
    name="mnist",
    summary="70,000 handwritten digits, 28 x 28 pixels, grey, 10 classes.",
    source="LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0",
    classes=tuple("0123456789"),
    folders=("mnist", "MNIST/raw", "mnist/raw", "MNIST"),
)
