"""Response bodies of the comparison of jobs."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, Field, JsonValue

from core.db.repos.metric_summaries import MetricSummary
from core.db.tables import JobRow
from core.jobs import JobState


class JobComparedOut(BaseModel):
    """A compared job."""

    id: str = Field(description="The id of the job.")
    name: str = Field(description="The name of the job.")
    state: JobState = Field(description="The current state.")
    duration_s: float | None = Field(description="Seconds from the first attempt to the end; null before the end.")


class SpecDifferenceOut(BaseModel):
    """A field of the specs that differs."""

    pointer: str = Field(description="The JSON pointer of the field.", examples=["/optimizer/lr"])
    values: dict[str, JsonValue] = Field(description="The value in each job, keyed by job id; absent if it has none.")


class MetricValuesOut(BaseModel):
    """The last and the best value of a metric of one job."""

    last: float | None = Field(description="The value in the last complete epoch; null if it is not finite.")
    best: float | None = Field(description="The best value over all complete epochs; null if none is finite.")
    best_epoch: int | None = Field(description="The epoch of the best value; null if only the evaluation has it.")


class JobComparisonOut(BaseModel):
    """The comparison of several jobs."""

    jobs: list[JobComparedOut] = Field(description="The compared jobs, in the order of the request.")
    differences: list[SpecDifferenceOut] = Field(description="The fields of the resolved specs that differ.")
    num_differences: int = Field(description="The number of all fields that differ; at most 1000 are listed.")
    metrics: dict[str, dict[str, MetricValuesOut]] = Field(
        description="The values of each metric, such as `valid_loss`, keyed by job id."
    )
    environments: dict[str, dict[str, JsonValue]] = Field(
        description="Device, precision, threads, torch version and number of parameters, keyed by job id; empty before "
        "the first attempt."
    )

    @classmethod
    def from_comparison(
        cls,
        jobs: Sequence[JobRow],
        differences: Sequence[tuple[str, dict[str, Any]]],
        num_differences: int,
        metrics: Mapping[str, Mapping[str, MetricSummary]],
        environments: Mapping[str, Mapping[str, Any]],
    ) -> Self:
        """Return the response for a comparison. The arguments are its fields."""
        return cls.model_validate(
            {
                "jobs": [
                    {"id": job.id, "name": job.name, "state": job.state, "duration_s": job.duration_s} for job in jobs
                ],
                "differences": [{"pointer": pointer, "values": values} for pointer, values in differences],
                "num_differences": num_differences,
                "metrics": {
                    name: {job_id: summary._asdict() for job_id, summary in by_job.items()}
                    for name, by_job in metrics.items()
                },
                "environments": environments,
            }
        )
