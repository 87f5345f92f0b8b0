"""The datasets that are known by name; a new one is a file here and a line in the list."""

from core.datasets.builtin import BuiltIn, DatasetFacts
from core.datasets.cifar import CIFAR10, CIFAR100
from core.datasets.digits import DIGITS
from core.datasets.fashion_mnist import FASHION_MNIST
from core.datasets.mnist import MNIST
from core.datasets.palmerpenguins import PALMERPENGUINS
from core.datasets.synthetic import SYNTHETIC
from core.datasets.timeseries import TIMESERIES
from core.datasets.tiny_imagenet import TINY_IMAGENET

__all__ = ["BuiltIn", "DatasetFacts", "UnknownDataset", "get", "names"]

_PICTURES = (DIGITS, FASHION_MNIST, MNIST, CIFAR10, CIFAR100, TINY_IMAGENET, SYNTHETIC)
_TABLES = (PALMERPENGUINS, TIMESERIES)
_BUILT_IN = {entry.name: entry for entry in (*_PICTURES, *_TABLES)}


class UnknownDataset(LookupError):
    """No built-in dataset has that name; `known` are those that there are."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no built-in dataset {name!r}")
        self.known = names()


def names() -> list[str]:
    """Return the names, sorted."""
    return sorted(_BUILT_IN)


def get(name: str) -> BuiltIn:
    """Raises `UnknownDataset`."""
    try:
        return _BUILT_IN[name]
    except KeyError:
        raise UnknownDataset(name) from None
