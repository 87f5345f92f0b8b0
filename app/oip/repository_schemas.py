"""Bodies of the model repository and of the statistics of `/v2`, for the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.oip.schemas import OPEN, Parameters


class OipIndexIn(BaseModel):
    """The versions to list."""

    model_config = OPEN

    ready: bool | None = Field(default=None, description="List only loaded versions. Default: false.", examples=[True])


class OipLoadIn(BaseModel):
    """The options of a load or an unload."""

    model_config = OPEN

    parameters: Parameters | None = Field(
        default=None,
        description="Parameters of Triton. `config` and files are rejected, because models are immutable; others are "
        "ignored.",
        examples=[{}],
    )


class OipIndexEntryOut(BaseModel):
    """A version of a model."""

    name: str = Field(description="The name of the model.", examples=["digits"])
    version: str = Field(description="The number of the version.", examples=["1"])
    state: Literal["READY", "UNAVAILABLE"] = Field(description="Whether the version is loaded.")
    reason: str = Field(description="Why the version is not loaded; empty if it is.", examples=[""])


class OipDurationOut(BaseModel):
    """A number of events and their total duration."""

    count: Annotated[int, Field(ge=0)] = Field(description="Number of events.", examples=[12])
    ns: Annotated[int, Field(ge=0)] = Field(description="Total duration in nanoseconds.", examples=[34_000_000])


class OipBatchDurationsOut(BaseModel):
    """The durations of the steps of batches. The counts of the three steps are equal."""

    compute_input: OipDurationOut = Field(description="Decoding of images; not measured per batch size.")
    compute_infer: OipDurationOut = Field(description="Computation, from pixels to scores.")
    compute_output: OipDurationOut = Field(description="Encoding of outputs; not measured, so `ns` is 0.")


class OipDurationsOut(OipBatchDurationsOut):
    """The durations of requests and of their steps."""

    success: OipDurationOut = Field(description="Requests that succeeded.")
    fail: OipDurationOut = Field(description="Requests that failed.")
    queue: OipDurationOut = Field(description="Waiting in the queue, per request.")
    cache_hit: OipDurationOut = Field(description="Always 0: there is no response cache.")
    cache_miss: OipDurationOut = Field(description="Always 0: there is no response cache.")


class OipBatchStatisticsOut(OipBatchDurationsOut):
    """The statistics of the batches of one size."""

    batch_size: int = Field(description="Number of samples per batch.", examples=[8])


class OipMemoryOut(BaseModel):
    """The memory of a loaded version on a device."""

    type: Literal["CPU", "GPU"] = Field(description="The kind of device.")
    id: int = Field(description="The number of the device.", examples=[0])
    byte_size: int = Field(description="The size of the weights in bytes.", examples=[2632])


class OipModelStatisticsOut(BaseModel):
    """The statistics of a version since the start of the process."""

    name: str = Field(description="The name of the model.", examples=["digits"])
    version: str = Field(description="The number of the version.", examples=["1"])
    last_inference: int = Field(description="When the last request ended, in milliseconds since 1970; 0: never.")
    inference_count: int = Field(description="Number of samples.", examples=[96])
    execution_count: int = Field(description="Number of batches.", examples=[12])
    inference_stats: OipDurationsOut = Field(description="The durations of all requests.")
    response_stats: dict[str, Any] = Field(description="Always empty: there are no streamed responses.", examples=[{}])
    batch_stats: list[OipBatchStatisticsOut] = Field(description="The durations by batch size.")
    memory_usage: list[OipMemoryOut] = Field(description="The memory by device; empty if it is not loaded.")


class OipStatisticsOut(BaseModel):
    """The statistics of model versions."""

    model_stats: list[OipModelStatisticsOut] = Field(description="The statistics of each version.")
