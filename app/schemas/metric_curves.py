"""Response bodies of metric curves on one grid."""

from typing import Any

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from core.db.repos.metric_grid import MetricGrid
from core.db.repos.metric_grid_queries import GridAxis

MS_PER_S = 1000


class GridSeriesOut(BaseModel):
    """A curve of one job: arrays with one value per value of `x`."""

    job: str = Field(description="The id of the job.")
    split: str = Field(description="The split: `train`, `valid`, `test` or `usage`.")
    name: str = Field(description="The name of the metric.")
    min: list[float | None] = Field(description="The lowest finite value in each bucket; null if there is none.")
    max: list[float | None] = Field(description="The highest finite value in each bucket; null if there is none.")
    last: list[float | None] = Field(
        description="The value of the last point in each bucket; null if there is no point, or if it is not finite."
    )
    count: list[int] = Field(description="The number of points in each bucket.")
    non_finite: list[int] = Field(description="The number of points in each bucket that are NaN or infinite.")


class MetricGridOut(BaseModel):
    """Curves on one grid."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "axis": "step",
                "width": 64,
                "x": [0, 64],
                "series": [
                    {
                        "job": "4f2a9c1e7b604d3d8a51c0ffee123456",
                        "split": "train",
                        "name": "loss",
                        "min": [0.61, 0.48],
                        "max": [2.31, 0.70],
                        "last": [0.64, 0.50],
                        "count": [63, 64],
                        "non_finite": [0, 0],
                    }
                ],
            }
        }
    )

    axis: GridAxis = Field(description="What `x` counts: steps, epochs, or seconds of training.")
    width: float = Field(description="The size of a bucket. A bucket has the positions from `x` up to `x + width`.")
    x: list[float] = Field(
        description="The start of each bucket, a multiple of `width`. Buckets without points of any curve are left out."
    )
    series: list[GridSeriesOut] = Field(
        description="One item per job and curve, in the order of the request: all curves of the first job, and so on."
    )


def dump_grid(grid: MetricGrid, axis: GridAxis) -> dict[str, Any]:
    """Return the content of a `MetricGridOut` with arrays of numpy, in which NaN stands for null."""
    is_time = axis is GridAxis.TIME
    positions: npt.NDArray[Any] = grid.positions / MS_PER_S if is_time else grid.positions
    return {
        "axis": axis.value,
        "width": grid.width / MS_PER_S if is_time else grid.width,
        "x": positions,
        "series": [
            {
                "job": curve.key.job_id,
                "split": curve.key.split,
                "name": curve.key.name,
                "min": curve.lowest,
                "max": curve.highest,
                "last": curve.last,
                "count": curve.num_points,
                "non_finite": curve.num_special,
            }
            for curve in grid.curves
        ],
    }
