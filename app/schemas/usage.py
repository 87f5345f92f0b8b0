"""Response bodies of the use of resources by jobs."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, Field

from app.schemas.job_parts import Number
from core.db.repos.metrics import MetricSeries

MS_PER_S = 1000


class UsagePointOut(BaseModel):
    """A sample."""

    step: int = Field(description="The step after which the sample was taken.")
    epoch: int = Field(description="The epoch, from 1.")
    seconds: float | None = Field(
        description="Seconds of training before the sample, over all attempts; null if the sample was selected as the "
        "lowest or highest one of a long series."
    )
    value: Number = Field(description="The value.")


class UsageSeriesOut(BaseModel):
    """Samples of one quantity."""

    name: str = Field(
        description="`cpu_percent`: processor time in percent of one core. `memory_mib`: resident memory. `data_wait`: "
        "the share of the time, from 0 to 1, in which the training waited for batches. `images_per_s`: training "
        "samples per second. On a GPU also `gpu_memory_mib` and, with nvidia-ml-py, `gpu_percent`.",
        examples=["cpu_percent"],
    )
    unit: Literal["percent", "MiB", "share", "samples/s"] = Field(description="The unit of the values.")
    points: list[UsagePointOut] = Field(description="The samples, in ascending order of the steps.")


class UsageOut(BaseModel):
    """What the trainer of a job uses, sampled about every five seconds of training."""

    series: list[UsageSeriesOut] = Field(description="One item per quantity.")

    @classmethod
    def from_series(cls, series: Sequence[MetricSeries]) -> Self:
        return cls(
            series=[
                UsageSeriesOut(
                    name=curve.name,
                    unit=get_unit(curve.name),
                    points=[
                        UsagePointOut(
                            step=point.step,
                            epoch=point.epoch,
                            seconds=None if point.elapsed_ms is None else point.elapsed_ms / MS_PER_S,
                            value=point.special if point.value is None else point.value,
                        )
                        for point in curve.points
                    ],
                )
                for curve in series
            ]
        )


def get_unit(name: str) -> Literal["percent", "MiB", "share", "samples/s"]:
    """Return the unit of a quantity, which follows from its name."""
    if name.endswith("_percent"):
        return "percent"
    if name.endswith("_mib"):
        return "MiB"
    return "share" if name == "data_wait" else "samples/s"
