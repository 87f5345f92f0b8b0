"""Image inputs in every accepted format, and errors for all others."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from app.oip import image_inputs
from app.oip.errors import InvalidInferRequest
from app.oip.tensors import Tensor, TensorMetadata

SHAPE = (3, 4, 5)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
JPEG = b"\xff\xd8\xff\xe0 and so on"


def tensor(values: Any, datatype: str = "UINT8", **changes: Any) -> Tensor:
    return Tensor("image", datatype, np.asarray(values), **changes)


def parse(input_tensor: Tensor, image_shape: tuple[int, int, int] = SHAPE, max_batch_size: int = 2) -> Any:
    metadata = TensorMetadata(input_tensor.name, input_tensor.datatype, input_tensor.shape)
    image_inputs.check_images(metadata, image_shape, max_batch_size)
    return image_inputs.parse_images(input_tensor, image_shape)


def encoded(*elements: bytes, shape: tuple[int, ...] | None = None, **changes: Any) -> Tensor:
    values = np.empty(len(elements), object)
    values[:] = elements
    return tensor(values.reshape(shape or (len(elements),)), "BYTES", **changes)


def test_uint8_pixels_are_unchanged() -> None:
    np.testing.assert_array_equal(parse(tensor(IMAGES)), IMAGES)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_are_pixels(dtype: type) -> None:
    small: Any = (IMAGES // 2).astype(dtype)
    np.testing.assert_array_equal(parse(tensor(small)), IMAGES // 2)


@given(arrays.arrays(np.uint8, (1, 4, 5, 3)))
def test_floating_point_pixels_round_to_the_same_bytes(images: np.ndarray[Any, Any]) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        images = parse(tensor((images / 255).astype(dtype), "FP32"))
        np.testing.assert_array_equal(images, images)


def test_channels_first_is_accepted() -> None:
    np.testing.assert_array_equal(parse(tensor(IMAGES.transpose(0, 3, 1, 2))), IMAGES)


def test_ambiguous_shape_has_channels_last() -> None:
    cube = np.arange(27, dtype=np.uint8).reshape(1, 3, 3, 3)
    np.testing.assert_array_equal(parse(tensor(cube), image_shape=(3, 3, 3)), cube)


def test_booleans_are_black_and_white() -> None:
    images = parse(tensor(IMAGES > 127, "BOOL"))
    np.testing.assert_array_equal(images, np.where(IMAGES > 127, 255, 0))


def test_batch_may_be_empty() -> None:
    assert len(parse(tensor(IMAGES[:0].astype(np.float32), "FP32"))) == 0


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_encoded_images_are_unchanged(shape: tuple[int, ...]) -> None:
    assert parse(encoded(JPEG, b"", shape=shape)) == [JPEG, b""]


@pytest.mark.parametrize("changes", [{"from_json": True}, {"parameters": {"content_type": "base64"}}])
def test_images_in_json_are_base64(changes: dict[str, Any]) -> None:
    assert parse(encoded(base64.encodebytes(JPEG), **changes)) == [JPEG]
    assert parse(encoded(b"data:image/jpeg;base64," + base64.urlsafe_b64encode(JPEG).rstrip(b"="), **changes)) == [JPEG]


@pytest.mark.parametrize(
    ("input_tensor", "reason"),
    [
        (tensor(IMAGES[0]), "UINT8 of shape [4, 5, 3]; the model takes shape [-1, 4, 5, 3] or [-1, 3, 4, 5]"),
        (tensor(IMAGES.swapaxes(1, 2)), "UINT8 of shape [2, 5, 4, 3]"),
        (tensor(IMAGES.astype(np.int16) - 1), "integer pixels must be 0..255"),
        (tensor(IMAGES.astype(np.int64) + 256), "integer pixels must be 0..255"),
        (tensor(IMAGES.astype(np.float32), "FP32"), "floating-point pixels must be 0..1"),
        (tensor(np.full((1, 4, 5, 3), np.nan, np.float32), "FP32"), "floating-point pixels must be 0..1"),
        (tensor(np.full((1, 4, 5, 3), np.inf, np.float16), "FP16"), "floating-point pixels must be 0..1"),
        (encoded(JPEG, JPEG, shape=(1, 2)), "BYTES of shape [1, 2]; the model takes shape [-1] or [-1, 1]"),
        (encoded(b"???", from_json=True), "element 0 is not base64"),
    ],
)
def test_invalid_images_are_rejected_with_the_input_name(input_tensor: Tensor, reason: str) -> None:
    with pytest.raises(InvalidInferRequest) as raised:
        parse(input_tensor)
    assert reason in raised.value.detail
    assert "'image'" in raised.value.detail


def test_raw_body_is_an_encoded_image_or_pixels() -> None:
    assert image_inputs.parse_raw_body(JPEG, SHAPE) == [JPEG]
    np.testing.assert_array_equal(image_inputs.parse_raw_body(IMAGES[0].tobytes(), SHAPE), IMAGES[:1])
    pixels = b"BM" + IMAGES[0].tobytes()[2:]  # starts like a BMP, but has no header
    expected = np.frombuffer(pixels, np.uint8).reshape(IMAGES[:1].shape)
    np.testing.assert_array_equal(image_inputs.parse_raw_body(pixels, SHAPE), expected)


@pytest.mark.parametrize("body", [b"", b"%PDF-1.7" + b"\0" * 52, IMAGES[0].tobytes()[:-1], b"{}"])
def test_other_raw_bodies_are_rejected(body: bytes) -> None:
    with pytest.raises(InvalidInferRequest, match=r"'image'.*must be 60 bytes"):
        image_inputs.parse_raw_body(body, SHAPE)


def test_the_only_input_is_the_image() -> None:
    assert image_inputs.require_single_input([tensor(IMAGES)], "m").values is IMAGES
    with pytest.raises(InvalidInferRequest, match="input 'image' of model 'm' is missing"):
        image_inputs.require_single_input([], "m")
    other = Tensor("images", "UINT8", IMAGES)
    with pytest.raises(InvalidInferRequest, match="unexpected input 'images'"):
        image_inputs.require_single_input([tensor(IMAGES), other], "m")


def test_default_input_name_of_mlserver_is_accepted() -> None:
    unnamed = Tensor("input-1", "UINT8", IMAGES)
    assert image_inputs.require_single_input([unnamed], "m") is unnamed
    with pytest.raises(InvalidInferRequest, match="unexpected input 'input-1'"):
        image_inputs.require_single_input([unnamed, tensor(IMAGES)], "m")


def test_batch_size_is_limited() -> None:
    assert len(parse(tensor(IMAGES), max_batch_size=2)) == 2
    with pytest.raises(InvalidInferRequest, match="'image' has a batch size of 2; at most 1"):
        parse(tensor(IMAGES), max_batch_size=1)
    with pytest.raises(InvalidInferRequest, match="'image' has a batch size of 3; at most 2"):
        parse(encoded(JPEG, JPEG, JPEG))
