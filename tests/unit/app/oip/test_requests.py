"""Valid and invalid inference requests."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.oip.errors import InvalidInferRequest, NotSupported
from app.oip.requests import InferRequest, RequestedOutput, parse_infer_request
from core.errors import ServiceError


def message(**changes: Any) -> dict[str, Any]:
    return {"inputs": [tensor()]} | changes


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]} | changes


def binary(size: object, **changes: Any) -> dict[str, Any]:
    result = tensor(parameters={"binary_data_size": size}, **changes)
    del result["data"]
    return result


def parse(content: object, tail: bytes = b"", header: str | None = None) -> InferRequest:
    text = json.dumps(content).encode()
    return parse_bytes(text + tail, str(len(text)) if tail and header is None else header)


def parse_bytes(body: bytes, header: str | None) -> InferRequest:
    return parse_infer_request(body, header, lambda text: None, lambda inputs: None)


def test_request_in_json() -> None:
    request = parse(message(id="42", outputs=[{"name": "y"}]))
    assert request.id == "42"
    assert request.inputs[0].values.tolist() == [1.0, 2.0]
    assert request.outputs == (RequestedOutput("y"),)


def test_binary_inputs_take_their_bytes_in_order() -> None:
    first, second = np.array([5, 6], np.int16), np.array([7.0], np.float32)
    inputs = [
        binary(4, name="a", datatype="INT16"),
        tensor(name="b"),
        binary(4, name="c", datatype="FP32", shape=[1]),
    ]
    request = parse({"inputs": inputs}, first.tobytes() + second.tobytes())
    assert [item.values.tolist() for item in request.inputs] == [[5, 6], [1.0, 2.0], [7.0]]
    assert [item.from_json for item in request.inputs] == [False, True, False]


def test_empty_input_may_be_binary() -> None:
    for empty in (
        binary(0, shape=[0, 3]),
        binary(0, shape=[0, 3]) | {"data": None},
    ):  # KServe's client sends both
        assert parse({"inputs": [empty]}).inputs[0].shape == (0, 3)


def test_header_length_of_zero_is_a_raw_image() -> None:
    assert parse_bytes(b"\xff\xd8", "0") == InferRequest(raw=b"\xff\xd8", binary_output=True)


def test_parameters_of_an_output_override_those_of_the_request() -> None:
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False, "classification": 3}}]
    request = parse(message(outputs=outputs, parameters={"binary_data_output": True}))
    assert request.outputs == (
        RequestedOutput("a", binary=True),
        RequestedOutput("b", binary=False, num_classes=3),
    )


@pytest.mark.parametrize("outputs", [None, []])
def test_default_is_all_outputs(outputs: object) -> None:
    assert parse(message(outputs=outputs)).outputs is None


def test_reserved_parameters_are_parsed_and_others_ignored() -> None:
    request = parse(message(parameters={"timeout": 5000, "priority": 2, "k": "v", "headers": {"a": "b"}}))
    assert (request.timeout_us, request.priority) == (5000, 2)


def test_fields_of_other_clients_are_ignored() -> None:
    """Accept `model_name` of KServe and the null fields of MLServer."""
    request = parse(
        {
            "id": None,
            "model_name": "m",
            "parameters": {"content_type": "np", "headers": None},
            "inputs": [tensor(parameters={"content_type": "np", "headers": None}, data=[[1.0], [2.0]], shape=[2, 1])],
            "outputs": None,
        }
    )
    assert request.id is None
    assert request.inputs[0].shape == (2, 1)


@pytest.mark.parametrize(
    ("content", "tail", "header", "reason"),
    [
        ([], b"", None, "must be a JSON object"),
        (message(inputs={}), b"", None, "'inputs' must be an array of objects"),
        (message(inputs=[1]), b"", None, "'inputs' must be an array of objects"),
        (message(inputs=[tensor(name="")]), b"", None, "must have a name"),
        (message(inputs=[{"shape": [1]}]), b"", None, "must have a name"),
        (message(inputs=[tensor(), tensor()]), b"", None, "the name 'x' twice"),
        (message(inputs=[tensor(name=str(index)) for index in range(65)]), b"", None, "at most 64"),
        (message(inputs=[tensor(datatype="FLOAT")]), b"", None, "input 'x' has the unknown datatype"),
        (message(inputs=[tensor(shape="2")]), b"", None, "input 'x' must have a shape"),
        (message(inputs=[tensor(parameters=3)]), b"", None, "parameters of input 'x'"),
        (
            message(inputs=[tensor(parameters={"binary_data_size": 8})]),
            b"",
            None,
            "input 'x' must have either",
        ),
        (
            message(inputs=[{"name": "x", "shape": [1], "datatype": "FP32"}]),
            b"",
            None,
            "input 'x' must have either",
        ),
        (message(inputs=[binary(-8)]), b"", None, "'binary_data_size' of input 'x'"),
        (message(inputs=[binary(True)]), b"", None, "'binary_data_size' of input 'x'"),
        (message(inputs=[binary("8")]), b"", None, "'binary_data_size' of input 'x'"),
        (message(inputs=[binary(8)]), b"1234567", None, "input 'x' has the binary_data_size 8"),
        (message(inputs=[binary(8)]), b"", None, "only 0 bytes of the body remain"),
        (message(inputs=[binary(8)]), b"123456789", None, "1 bytes after the last input"),
        (message(), b"1", None, "1 bytes after the last input"),
        (message(), b"", "-1", "must be a number of bytes"),
        (message(), b"", "1e3", "must be a number of bytes"),
        (message(), b"", "\uff19", "must be a number of bytes"),
        (message(), b"", "99999", "but the body has"),
        (message(id=7), b"", None, "'id' must be a string"),
        (message(parameters=[]), b"", None, "parameters of the request"),
        (message(parameters={"timeout": -1}), b"", None, "'timeout'"),
        (message(parameters={"timeout": 1.5}), b"", None, "'timeout'"),
        (message(parameters={"binary_data_output": 1}), b"", None, "'binary_data_output'"),
        (message(outputs=[{"name": "y", "parameters": {"binary_data": "no"}}]), b"", None, "output 'y'"),
        (message(outputs=[{"name": "y", "parameters": {"classification": -1}}]), b"", None, "output 'y'"),
    ],
)
def test_invalid_request_is_rejected_with_the_name(
    content: object, tail: bytes, header: str | None, reason: str
) -> None:
    with pytest.raises(InvalidInferRequest) as raised:
        parse(content, tail, header)
    assert reason in raised.value.detail


@pytest.mark.parametrize("body", [b"", b"\xff\xd8\xff\xe0", b'{"a":', b"[" * 5000, b'{"a": NaN}', b'{"a": 1e999}'])
def test_invalid_json_is_rejected_with_a_hint(body: bytes) -> None:
    with pytest.raises(InvalidInferRequest, match="Inference-Header-Content-Length: 0"):
        parse_bytes(body, None)


@pytest.mark.parametrize(
    "content",
    [
        message(inputs=[tensor(parameters={"shared_memory_region": "r"})]),
        message(outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}]),
        message(parameters={"sequence_id": 3}),
    ],
)
def test_shared_memory_and_sequences_are_not_supported(content: object) -> None:
    with pytest.raises(NotSupported):
        parse(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a busy machine makes examples slowly
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON,
            "parameters": JSON | st.dictionaries(st.sampled_from(["timeout", "priority", "binary_data_output"]), JSON),
            "inputs": JSON
            | st.lists(
                st.fixed_dictionaries(
                    {"name": st.just("x")},
                    optional={
                        "shape": JSON | st.lists(st.integers(0, 3)),
                        "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "UINT8"]) | JSON,
                        "data": JSON,
                        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": JSON}),
                    },
                )
            ),
            "outputs": JSON,
        },
    ),
    st.binary(max_size=12),
)
def test_any_json_is_a_request_or_a_service_error(content: object, tail: bytes) -> None:
    with suppress(ServiceError):
        assert isinstance(parse(content, tail), InferRequest)
