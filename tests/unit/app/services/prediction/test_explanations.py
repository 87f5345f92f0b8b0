"""The output of a network that stands for a class; `tests/unit/app/api/test_explanations.py` tests the service."""

import pytest

from app.services.prediction.explanations import find_output_index
from app.services.prediction.version_cache import ServedModel
from app.serving.types import BundleRef
from core.errors import InvalidSpec
from core.resizing import STRETCH

MODEL = ServedModel(
    name="cats",
    version=1,
    bundle=BundleRef("key", (), "cats"),
    task="classification",
    classes=("cat", "dog"),
    image_shape=(3, 8, 8),
    resize=STRETCH,
    num_outputs=2,
)


def test_output_is_the_index_of_the_class() -> None:
    assert find_output_index(MODEL, "dog") == 1
    assert find_output_index(MODEL._replace(classes=()), "1") == 1


@pytest.mark.parametrize(("stored", "requested"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9", "cafe\u0301")])
def test_classes_are_compared_in_nfc(stored: str, requested: str) -> None:
    assert find_output_index(MODEL._replace(classes=("dog", stored)), requested) == 1


def test_single_output_stands_for_the_second_class() -> None:
    binary = MODEL._replace(task="binary", num_outputs=1)
    assert find_output_index(binary, "dog") == 0
    with pytest.raises(InvalidSpec, match="unknown class 'cat'"):
        find_output_index(binary, "cat")


def test_unknown_class_has_the_query_parameter_as_pointer() -> None:
    with pytest.raises(InvalidSpec) as raised:
        find_output_index(MODEL, "dogg")
    assert raised.value.errors == [("?label", "unknown class 'dogg'; did you mean 'dog'?")]
