"""The built-in datasets. To add one, define it in a new module and list it in `_IMAGES` or `_TABLES`."""

from core.datasets.builtin.cifar import CIFAR10, CIFAR100
from core.datasets.builtin.digits import DIGITS
from core.datasets.builtin.fashion_mnist import FASHION_MNIST
from core.datasets.builtin.mnist import MNIST
from core.datasets.builtin.palmerpenguins import PALMERPENGUINS
from core.datasets.builtin.synthetic import SYNTHETIC
from core.datasets.builtin.timeseries import TIMESERIES
from core.datasets.builtin.tiny_imagenet import TINY_IMAGENET
from core.datasets.definition import BuiltinDataset

__all__ = ["UnknownDataset", "get_dataset", "list_names"]

_IMAGES = (DIGITS, FASHION_MNIST, MNIST, CIFAR10, CIFAR100, TINY_IMAGENET, SYNTHETIC)
_TABLES = (PALMERPENGUINS, TIMESERIES)
_DATASETS = {entry.name: entry for entry in (*_IMAGES, *_TABLES)}


class UnknownDataset(LookupError):
    """There is no built-in dataset of the given name. `available` contains the names of all built-in datasets."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no built-in dataset {name!r}")
        self.available = list_names()


def list_names() -> list[str]:
    """Return the names of all built-in datasets, sorted."""
    return sorted(_DATASETS)


def get_dataset(name: str) -> BuiltinDataset:
    """Return a built-in dataset by name.

    Raises:
        UnknownDataset: the name is unknown.
    """
    try:
        return _DATASETS[name]
    except KeyError:
        raise UnknownDataset(name) from None
