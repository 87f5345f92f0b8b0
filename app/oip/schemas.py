"""Bodies of `/v2`, for the OpenAPI document. The endpoints read and write them without these classes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.http.json_bodies import MAX_DATA_VALUES, MAX_VALUES
from app.oip.requests import MAX_ID, MAX_TENSORS
from app.oip.tensors import MAX_AXES, MAX_ELEMENTS

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
]
Shape = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_ELEMENTS)]],
    Field(min_length=1, max_length=MAX_AXES, description="The size of each axis; the first is the batch."),
]
VariableShape = Annotated[list[int], Field(description="The size of each axis; -1 is the variable batch size.")]
Elements = Annotated[list[Any], Field(max_length=MAX_DATA_VALUES)]
Parameters = Annotated[dict[str, Any], Field(max_length=MAX_VALUES)]
OPEN = ConfigDict(extra="allow", json_schema_extra={"maxProperties": MAX_VALUES})


class InferInputIn(BaseModel):
    """An input tensor. Its elements are either in `data` or, as binary data, after the JSON."""

    model_config = OPEN

    name: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="The name of the input: `image` or `rows`, or the name of a column.", examples=["image"]
    )
    datatype: Datatype = Field(description="The type of the elements.", examples=["UINT8"])
    shape: Shape = Field(examples=[[1, 2, 2, 1]])
    values: Elements | None = Field(
        alias="data",
        default=None,
        description="The elements in row-major order, nested as in `shape` or flat. Images of `BYTES` are base64.",
        examples=[[0, 128, 255, 64]],
    )
    parameters: Parameters | None = Field(
        default=None, description="`binary_data_size`: the number of bytes of the tensor after the JSON.", examples=[{}]
    )


class InferRequestedOutputIn(BaseModel):
    """A requested output tensor."""

    model_config = OPEN

    name: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="`probabilities` or `logits`; for a regression `values`.", examples=["probabilities"]
    )
    parameters: Parameters | None = Field(
        default=None,
        description="`classification`: return that many top classes as strings. `binary_data`: return binary data.",
        examples=[{"classification": 3}],
    )


class InferIn(BaseModel):
    """An inference request."""

    model_config = OPEN

    id: Annotated[str, Field(max_length=MAX_ID)] | None = Field(
        default=None, description="An id that the response repeats.", examples=["42"]
    )
    inputs: Annotated[list[InferInputIn], Field(max_length=MAX_TENSORS)] = Field(description="The input tensors.")
    outputs: Annotated[list[InferRequestedOutputIn], Field(max_length=MAX_TENSORS)] | None = Field(
        default=None, description="The requested outputs. Default: the outputs of the model's metadata."
    )
    parameters: Parameters | None = Field(
        default=None,
        description="`priority`: 1 to 3. `timeout`: in microseconds. `binary_data_output`: return binary data. Unknown "
        "parameters are ignored.",
        examples=[{"priority": 1}],
    )


class InferOutputOut(BaseModel):
    """An output tensor."""

    name: str = Field(description="The name of the output.", examples=["probabilities"])
    datatype: Datatype = Field(description="The type of the elements.", examples=["FP32"])
    shape: list[int] = Field(description="The size of each axis; the first is the batch.", examples=[[1, 2]])
    values: list[Any] | None = Field(
        alias="data",
        default=None,
        description="The elements in row-major order; absent for binary data.",
        examples=[[0.98, 0.02]],
    )
    parameters: dict[str, int] | None = Field(
        default=None,
        description="`binary_data_size`: the number of bytes of the tensor after the JSON.",
        examples=[None],
    )


class InferOut(BaseModel):
    """An inference response."""

    model_name: str = Field(description="The name of the model.", examples=["digits"])
    model_version: str = Field(description="The number of the version, also if the request named an alias.")
    id: str | None = Field(default=None, description="The id of the request; absent if it has none.", examples=["42"])
    outputs: list[InferOutputOut] = Field(description="The output tensors.")


class OipErrorOut(BaseModel):
    """An error of `/v2`."""

    error: str = Field(description="What is wrong.", examples=["Request for unknown model: Model 'x' does not exist."])


class OipServerOut(BaseModel):
    """The metadata of the server."""

    name: str = Field(description="The name of the server.", examples=["candela"])
    version: str = Field(description="The version of the server.", examples=["1.2.3"])
    extensions: list[str] = Field(description="The supported extensions of the protocol.", examples=[["statistics"]])


class OipLiveOut(BaseModel):
    """The response of a successful liveness check."""

    live: Literal[True] = Field(description="Always true.")


class OipReadyOut(BaseModel):
    """The response of a successful readiness check."""

    ready: Literal[True] = Field(description="Always true.")


class OipModelReadyOut(OipReadyOut):
    """The response of a successful readiness check of a model."""

    name: str = Field(description="The name of the model.", examples=["digits"])


class OipTensorOut(BaseModel):
    """The metadata of a tensor."""

    name: str = Field(description="The name of the tensor.", examples=["image"])
    datatype: Datatype = Field(description="The type of the elements.", examples=["UINT8"])
    shape: VariableShape = Field(examples=[[-1, 8, 8, 1]])


class OipModelOut(BaseModel):
    """The metadata of a model."""

    name: str = Field(description="The name of the model.", examples=["digits"])
    versions: list[str] = Field(description="The numbers of all versions.", examples=[["1", "2"]])
    platform: str = Field(description="The format of the model.", examples=["pytorch_safetensors"])
    inputs: list[OipTensorOut] = Field(description="The input tensors.")
    outputs: list[OipTensorOut] = Field(
        description="The output tensors.",
        examples=[[{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]],
    )


class OipConfigTensorOut(BaseModel):
    """A tensor of a model's configuration."""

    name: str = Field(description="The name of the tensor.", examples=["image"])
    data_type: str = Field(description="The type of the elements.", examples=["TYPE_UINT8"])
    dims: list[int] = Field(description="The size of each axis without the batch.", examples=[[8, 8, 1]])


class OipConfigInputOut(OipConfigTensorOut):
    """An input tensor of a model's configuration."""

    format: Literal["FORMAT_NHWC", "FORMAT_NONE"] = Field(description="The layout of images; `FORMAT_NONE` for tables.")


class OipConfigOutputOut(OipConfigTensorOut):
    """An output tensor of a model's configuration."""

    label_filename: str = Field(description="Always empty; `parameters` has the classes.", examples=[""])


class OipBatchingOut(BaseModel):
    """The configuration of dynamic batching."""

    preferred_batch_size: list[int] = Field(description="Always empty.", examples=[[]])
    max_queue_delay_microseconds: int = Field(description="Always 0: a batch starts when the device is free.")
    priority_levels: int = Field(description="Number of priority levels.", examples=[3])
    default_priority_level: int = Field(description="The priority of requests that have none.", examples=[2])


class OipParameterOut(BaseModel):
    """A parameter of a model's configuration."""

    string_value: str = Field(description="The value.", examples=["classification"])


class OipConfigOut(BaseModel):
    """The configuration of a model, in the format of Triton."""

    name: str = Field(description="The name of the model.", examples=["digits"])
    platform: str = Field(description="Always empty; `backend` is set.", examples=[""])
    backend: str = Field(description="The backend that runs the model.", examples=["pytorch"])
    version_policy: dict[str, Any] = Field(description="The versions that are served.", examples=[{"all": {}}])
    max_batch_size: int = Field(description="Maximum number of samples per request.", examples=[64])
    input: list[OipConfigInputOut] = Field(description="The input tensors.")
    output: list[OipConfigOutputOut] = Field(
        description="The output tensors.",
        examples=[[{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10], "label_filename": ""}]],
    )
    dynamic_batching: OipBatchingOut = Field(description="How requests are combined to batches.")
    parameters: dict[str, OipParameterOut] = Field(
        description="The task, and the classes as a JSON array.",
        examples=[{"task": {"string_value": "classification"}, "classes": {"string_value": '["cat","dog"]'}}],
    )
