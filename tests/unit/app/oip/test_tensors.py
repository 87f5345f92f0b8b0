"""Tensors as bytes and as JSON: round trips and errors."""

from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from app.oip.datatypes import NOT_IN_JSON, NUMPY_DTYPES, bfloat16_to_float32, float32_to_bfloat16
from app.oip.errors import InvalidInferRequest
from app.oip.tensors import check_datatype, check_shape, from_bytes, from_json, to_bytes, to_json

NUMBERS = sorted(set(NUMPY_DTYPES) - {"BYTES", "BF16"})
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


@st.composite
def numbers(draw: st.DrawFn, names: list[str]) -> tuple[str, NDArray[Any]]:
    datatype = draw(st.sampled_from(names))
    return datatype, draw(arrays.arrays(NUMPY_DTYPES[datatype], SHAPES))


@st.composite
def byte_tensors(draw: st.DrawFn, elements: st.SearchStrategy[bytes]) -> NDArray[Any]:
    shape = draw(SHAPES)
    values = np.empty(int(np.prod(shape)), object)
    values[:] = draw(st.lists(elements, min_size=values.size, max_size=values.size))
    return values.reshape(shape)


@given(numbers(NUMBERS))
def test_numbers_round_trip_as_bytes(tensor: tuple[str, NDArray[Any]]) -> None:
    datatype, values = tensor
    result = from_bytes("x", datatype, values.shape, memoryview(to_bytes(values, datatype)))
    assert result.dtype == values.dtype
    np.testing.assert_array_equal(result, values)


@given(byte_tensors(st.binary(max_size=20)))
def test_byte_strings_round_trip_as_bytes(values: NDArray[Any]) -> None:
    result = from_bytes("x", "BYTES", values.shape, memoryview(to_bytes(values, "BYTES")))
    assert result.shape == values.shape
    assert list(result.ravel()) == list(values.ravel())


@given(numbers(sorted(set(NUMBERS) - NOT_IN_JSON)), st.booleans())
def test_numbers_round_trip_as_flat_or_nested_json(tensor: tuple[str, NDArray[Any]], nested: bool) -> None:
    datatype, values = tensor
    values = np.nan_to_num(values, posinf=1, neginf=-1) if values.dtype.kind == "f" else values
    text = orjson.dumps(values.tolist() if nested else to_json(values, datatype), option=orjson.OPT_SERIALIZE_NUMPY)
    result = from_json("x", datatype, values.shape, orjson.loads(text))
    assert result.dtype == values.dtype
    np.testing.assert_array_equal(result, values)


@given(byte_tensors(st.text(max_size=5).map(str.encode)))
def test_text_round_trips_as_json(values: NDArray[Any]) -> None:
    result = from_json("x", "BYTES", values.shape, to_json(values, "BYTES"))
    assert list(result.ravel()) == list(values.ravel())


def test_null_is_nan() -> None:
    result = from_json("x", "FP32", (3,), [1.5, None, 2])
    np.testing.assert_array_equal(result, np.array([1.5, np.nan, 2], np.float32))


@given(arrays.arrays(np.uint16, SHAPES).filter(lambda bits: not np.isnan(bfloat16_to_float32(bits)).any()))
def test_bfloat16_round_trips_as_float32(bits: NDArray[np.uint16]) -> None:
    result = from_bytes("x", "BF16", bits.shape, memoryview(bits.tobytes()))
    assert result.dtype == np.float32
    assert to_bytes(result, "BF16") == bits.tobytes()


def test_bfloat16_equals_that_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(float32_to_bfloat16(values), values.astype(ml_dtypes.bfloat16).view(np.uint16))
    assert np.isnan(bfloat16_to_float32(float32_to_bfloat16(np.array([np.nan], np.float32)))).all()


@pytest.mark.parametrize(
    ("datatype", "value", "wire"),
    [
        ("BOOL", True, "01"),
        ("UINT8", 254, "fe"),
        ("UINT16", 258, "0201"),
        ("UINT32", 258, "02010000"),
        ("UINT64", 258, "0201000000000000"),
        ("INT8", -2, "fe"),
        ("INT16", -2, "feff"),
        ("INT32", -258, "fefeffff"),
        ("INT64", -258, "fefeffffffffffff"),
        ("FP16", 1.0, "003c"),
        ("BF16", 1.0, "803f"),
        ("FP32", 1.0, "0000803f"),
        ("FP64", 1.0, "000000000000f03f"),
    ],
)
def test_numbers_are_little_endian(datatype: str, value: float, wire: str) -> None:
    body = bytes.fromhex(wire)
    assert from_bytes("x", datatype, (1,), memoryview(body)).tolist() == [value]
    assert to_bytes(np.array([value]), datatype) == body


def test_byte_strings_have_the_documented_format() -> None:
    values = np.array([b"\xff\xd8abc"], object)
    assert to_bytes(values, "BYTES") == bytes.fromhex("05000000ffd8616263")


@given(
    st.sampled_from(sorted(NUMPY_DTYPES)),
    SHAPES,
    st.binary(max_size=64),
)
def test_any_bytes_are_a_tensor_of_that_shape_or_an_error(datatype: str, shape: tuple[int, ...], body: bytes) -> None:
    with suppress(InvalidInferRequest):
        assert from_bytes("x", datatype, shape, memoryview(body)).shape == shape


@pytest.mark.parametrize(
    ("datatype", "shape", "body", "reason"),
    [
        ("FP32", (2, 3), b"\0" * 23, "has 23 bytes, but FP32 of shape [2, 3] requires 24"),
        ("FP32", (2, 3), b"\0" * 25, "has 25 bytes"),
        ("INT64", (2**31 - 1, 2**31 - 1), b"", "requires"),
        ("BYTES", (1,), b"\x05\0\0\0abcd", "ends within element 0"),
        ("BYTES", (1,), b"\x05\0\0", "ends within element 0"),
        ("BYTES", (1,), b"\xff\xff\xff\xffabcd", "ends within element 0"),
        ("BYTES", (2,), b"\x01\0\0\0a", "has 1 elements, but shape [2] has 2"),
        ("BYTES", (1,), b"\x01\0\0\0ab", "has 1 bytes after its 1 elements"),
        ("BYTES", (2**31 - 1,) * 4, b"", "has 0 elements"),
    ],
)
def test_missing_and_extra_bytes_have_an_error(datatype: str, shape: tuple[int, ...], body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInferRequest) as raised:
        from_bytes("x", datatype, shape, memoryview(body))
    assert reason in raised.value.detail
    assert "'x'" in raised.value.detail


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "reason"),
    [
        ("FP32", (2,), "01", "must be an array"),
        ("FP32", (2,), None, "must be an array"),
        ("FP32", (2,), [1.0], "has 1 elements, but shape [2] has 2"),
        ("FP32", (2, 2), [[1.0, 2.0], [3.0]], "axis 1 must have size 2"),
        ("FP32", (2, 2), [[1.0, 2.0], 3.0, 4.0], "axis 1 must have size 2"),
        ("FP32", (2,), [[1.0], [2.0]], "not FP32: array"),
        ("FP32", (2,), [1.0, "2"], "not FP32: string"),
        ("INT8", (2,), [1, None], "not INT8: null"),
        ("FP32", (2,), [1.0, True], "not FP32: boolean"),
        ("INT8", (1,), [1.5], "not INT8: number"),
        ("INT8", (1,), [128], "outside the range of INT8"),
        ("UINT64", (1,), [-1], "outside the range of UINT64"),
        ("BOOL", (1,), [2], "other than 0 and 1"),
        ("BYTES", (1,), [1], "not BYTES: integer"),
        ("FP16", (1,), [1.0], "send it as binary data"),
        ("BF16", (1,), [1.0], "send it as binary data"),
    ],
)
def test_invalid_json_tensor_has_an_error(datatype: str, shape: tuple[int, ...], content: object, reason: str) -> None:
    with pytest.raises(InvalidInferRequest) as raised:
        from_json("x", datatype, shape, content)
    assert reason in raised.value.detail
    assert "'x'" in raised.value.detail


INTEGER_TYPES = ["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"]


@pytest.mark.parametrize("datatype", INTEGER_TYPES)
@pytest.mark.parametrize("content", [[1.0, 2, 3e0], [[1], [2.0], [3.0]]])
def test_whole_numbers_with_a_decimal_point_are_integers(datatype: str, content: list[Any]) -> None:
    shape = (3,) if content[0] == 1.0 else (3, 1)
    values = from_json("x", datatype, shape, content)
    assert values.dtype == NUMPY_DTYPES[datatype]
    assert values.ravel().tolist() == [1, 2, 3]


@pytest.mark.parametrize("datatype", INTEGER_TYPES)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1.0, 1.5], "number 1.5"),
        ([1, -0.5], "number -0.5"),
        ([1.0, 1e300], "outside the range"),
        ([1.0, "2"], "string"),
    ],
)
def test_fractions_are_not_integers(datatype: str, content: list[Any], reason: str) -> None:
    with pytest.raises(InvalidInferRequest, match=reason):
        from_json("x", datatype, (2,), content)


@pytest.mark.parametrize("shape", [None, 3, [], [-1], [1.0], [True], ["1"], [2**31], [0, 2**16, 2**16], [1] * 17])
def test_shape_must_be_an_array_of_sizes(shape: object) -> None:
    with pytest.raises(InvalidInferRequest, match="'x'"):
        check_shape("x", shape)


@pytest.mark.parametrize("sizes", [[0, 2**31 - 1], [1, 0, 1]])
def test_empty_tensor_may_have_large_axes(sizes: list[int]) -> None:
    shape = check_shape("x", sizes)
    assert from_bytes("x", "UINT8", shape, memoryview(b"")).shape == shape


@pytest.mark.parametrize("datatype", [None, "fp32", "STRING", 4, [], "x" * 1000])
def test_unknown_datatype_has_an_error(datatype: object) -> None:
    with pytest.raises(InvalidInferRequest, match="unknown datatype") as raised:
        check_datatype("x", datatype)
    assert len(raised.value.detail) < 300
