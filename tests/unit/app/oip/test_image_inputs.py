"""Every form in which a client may send pictures, and every one that is refused by name."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from app.oip import image_inputs
from app.oip.errors import InvalidInferRequest
from app.oip.tensors import Tensor

SHAPE = (3, 4, 5)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
JPEG = b"\xff\xd8\xff\xe0 and so on"


def tensor(values: Any, datatype: str = "UINT8", **changes: Any) -> Tensor:
    return Tensor("image", datatype, np.asarray(values), **changes)


def taken(given: Tensor, image_shape: tuple[int, int, int] = SHAPE, max_batch_size: int = 2) -> Any:
    return image_inputs.parse_images(given, image_shape, max_batch_size)


def encoded(*elements: bytes, shape: tuple[int, ...] | None = None, **changes: Any) -> Tensor:
    values = np.empty(len(elements), object)
    values[:] = elements
    return tensor(values.reshape(shape or (len(elements),)), "BYTES", **changes)


def test_bytes_of_pixels_are_taken_as_they_are() -> None:
    np.testing.assert_array_equal(taken(tensor(IMAGES)), IMAGES)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_are_pixels_too(dtype: type) -> None:
    small: Any = (IMAGES // 2).astype(dtype)
    np.testing.assert_array_equal(taken(tensor(small)), IMAGES // 2)


@given(arrays.arrays(np.uint8, (1, 4, 5, 3)))
def test_every_byte_survives_its_way_through_floating_point(images: np.ndarray[Any, Any]) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        found = taken(tensor((images / 255).astype(dtype), "FP32"))
        np.testing.assert_array_equal(found, images)


def test_channels_may_come_first() -> None:
    np.testing.assert_array_equal(taken(tensor(IMAGES.transpose(0, 3, 1, 2))), IMAGES)


def test_a_shape_that_fits_both_ways_has_its_channels_last() -> None:
    cube = np.arange(27, dtype=np.uint8).reshape(1, 3, 3, 3)
    np.testing.assert_array_equal(taken(tensor(cube), image_shape=(3, 3, 3)), cube)


def test_truth_values_are_black_and_white() -> None:
    found = taken(tensor(IMAGES > 127, "BOOL"))
    np.testing.assert_array_equal(found, np.where(IMAGES > 127, 255, 0))


def test_no_images_are_no_images() -> None:
    assert len(taken(tensor(IMAGES[:0].astype(np.float32), "FP32"))) == 0


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_encoded_images_are_handed_on(shape: tuple[int, ...]) -> None:
    assert taken(encoded(JPEG, b"", shape=shape)) == [JPEG, b""]


@pytest.mark.parametrize("changes", [{"from_json": True}, {"parameters": {"content_type": "base64"}}])
def test_images_in_json_are_base64(changes: dict[str, Any]) -> None:
    assert taken(encoded(base64.encodebytes(JPEG), **changes)) == [JPEG]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (tensor(IMAGES[0]), "UINT8 of shape [4, 5, 3]; the model takes [-1, 4, 5, 3] or [-1, 3, 4, 5]"),
        (tensor(IMAGES.swapaxes(1, 2)), "UINT8 of shape [2, 5, 4, 3]"),
        (tensor(IMAGES.astype(np.int16) - 1), "integer pixels lie in 0..255"),
        (tensor(IMAGES.astype(np.int64) + 256), "integer pixels lie in 0..255"),
        (tensor(IMAGES.astype(np.float32), "FP32"), "floating-point pixels lie in 0..1"),
        (tensor(np.full((1, 4, 5, 3), np.nan, np.float32), "FP32"), "floating-point pixels lie in 0..1"),
        (tensor(np.full((1, 4, 5, 3), np.inf, np.float16), "FP16"), "floating-point pixels lie in 0..1"),
        (encoded(JPEG, JPEG, shape=(1, 2)), "BYTES of shape [1, 2]; the model takes [-1] or [-1, 1]"),
        (encoded(b"???", from_json=True), "element 0 is not base64"),
    ],
)
def test_what_is_no_image_is_refused_by_name(given: Tensor, reason: str) -> None:
    with pytest.raises(InvalidInferRequest) as refusal:
        taken(given)
    assert reason in refusal.value.detail
    assert "'image'" in refusal.value.detail


def test_a_raw_body_is_an_encoded_image_or_exactly_its_pixels() -> None:
    assert image_inputs.parse_raw_body(JPEG, SHAPE) == [JPEG]
    np.testing.assert_array_equal(image_inputs.parse_raw_body(IMAGES[0].tobytes(), SHAPE), IMAGES[:1])


@pytest.mark.parametrize("body", [b"", b"GIF89a" + b"\0" * 54, IMAGES[0].tobytes()[:-1], b"{}"])
def test_any_other_raw_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInferRequest, match=r"'image'.*would be 60 bytes"):
        image_inputs.parse_raw_body(body, SHAPE)


def test_the_only_input_is_the_image() -> None:
    assert image_inputs.require_single_input([tensor(IMAGES)], "m").values is IMAGES
    with pytest.raises(InvalidInferRequest, match="input 'image' of model 'm' is missing"):
        image_inputs.require_single_input([], "m")
    other = Tensor("images", "UINT8", IMAGES)
    with pytest.raises(InvalidInferRequest, match="unexpected input 'images'"):
        image_inputs.require_single_input([tensor(IMAGES), other], "m")


def test_the_only_input_may_have_the_name_that_mlservers_request_codecs_give_it() -> None:
    unnamed = Tensor("input-1", "UINT8", IMAGES)
    assert image_inputs.require_single_input([unnamed], "m") is unnamed
    with pytest.raises(InvalidInferRequest, match="unexpected input 'input-1'"):
        image_inputs.require_single_input([unnamed, tensor(IMAGES)], "m")


def test_a_batch_has_a_maximum() -> None:
    assert len(taken(tensor(IMAGES), max_batch_size=2)) == 2
    with pytest.raises(InvalidInferRequest, match="'image' has a batch of 2; at most 1"):
        taken(tensor(IMAGES), max_batch_size=1)
    with pytest.raises(InvalidInferRequest, match="'image' has a batch of 3; at most 2"):
        taken(encoded(JPEG, JPEG, JPEG))
