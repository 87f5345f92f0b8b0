"""Defines the spec of a job that repeats a training and compares the results."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Count, Spec
from core.spec.job import JobSpec


class OriginalSpec(Spec):
    """The training that a job repeats."""

    job: Annotated[
        str, Field(pattern=r"^[0-9a-f]{32}$", description="The id of the training job.", examples=["0" * 32])
    ]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="The sha256 of the weights that it trained.")]


class ReproduceSpec(JobSpec):
    """Train again as another job did, and compare the weights, the losses, the metrics and the environments.

    `POST /v1/jobs/{job_id}/reproduce` creates this job with the spec of the training. All fields of a training job are
    accepted. `register` has no effect: the job registers no model and keeps no network.
    """

    kind: Literal["reproduce"] = Field(description="The kind of the job.")  # type: ignore[assignment]  # specs are frozen
    original: OriginalSpec = Field(description="The training to compare with.")
    stop_after_step: Count | None = Field(
        default=None,
        description="The optimizer step at which a user or a time limit ended the training. This job ends there too. "
        "Default: it ends as any training does.",
    )
