"""The class names of ImageNet-1k, which published weights predict."""


def load_classes() -> tuple[str, ...]:
    """Return the 1000 names in the order of the outputs. They are part of torchvision, whose import is slow."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)
