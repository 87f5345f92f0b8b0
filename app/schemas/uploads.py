"""Response bodies of resumable uploads."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from app.schemas.problems import ProblemErrorOut
from core.db.upload_tables import UploadRow
from core.jobs import UploadState


class UploadProblemOut(BaseModel):
    """The reason why an uploaded file was rejected, with the fields of an error response."""

    type: str = Field(description="`/problems/<slug>`.", examples=["/problems/invalid-archive"])
    title: str = Field(description="The kind of error.", examples=["The archive is invalid"])
    detail: str = Field(description="What is wrong with the file.")
    errors: list[ProblemErrorOut] = Field(description="The invalid options of the import.")
    facts: dict[str, Any] = Field(description="Additional machine-readable values, such as `code`.")


class DatasetVersionRefOut(BaseModel):
    """The dataset version that was created from an upload."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")
    location: str = Field(description="The path of the version.", examples=["/v1/datasets/pets/versions/1"])


class UploadOut(BaseModel):
    """A resumable upload."""

    id: str = Field(description="The id of the upload.")
    dataset: str = Field(description="The name of the dataset that gets a new version.")
    state: UploadState = Field(
        description="`receiving`: bytes are missing; `inspecting`: the complete file is being checked; `succeeded`: "
        "the dataset version was created; `failed`: the file was rejected."
    )
    offset: int = Field(description="Number of received bytes. The next chunk starts here.")
    length: int = Field(description="The size of the file in bytes.")
    options: dict[str, Any] = Field(description="The options of the import.")
    version: DatasetVersionRefOut | None = Field(description="The created dataset version; null before.")
    problem: UploadProblemOut | None = Field(description="Why the file was rejected; null if it was not.")
    created_at: datetime = Field(description="When the upload was created, in UTC.")
    expires_at: datetime = Field(description="When the upload is deleted if no further byte arrives, in UTC.")

    @classmethod
    def from_row(cls, row: UploadRow) -> Self:
        return cls(
            id=row.id,
            dataset=row.dataset,
            state=row.state,
            offset=row.received_bytes,
            length=row.length_bytes,
            options={name: value for name, value in row.options.items() if name != "is_table"},
            version=_build_version(row),
            problem=_build_problem(row.problem),
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


def get_version_path(row: UploadRow) -> str | None:
    """Return the path of the dataset version that was created from an upload, or None."""
    return None if row.version is None else f"/v1/datasets/{row.dataset}/versions/{row.version}"


def _build_version(row: UploadRow) -> DatasetVersionRefOut | None:
    location = get_version_path(row)
    if row.version is None or location is None:
        return None
    return DatasetVersionRefOut(name=row.dataset, version=row.version, location=location)


def _build_problem(problem: dict[str, Any] | None) -> UploadProblemOut | None:
    if problem is None:
        return None
    return UploadProblemOut.model_validate({"type": f"/problems/{problem['slug']}", **problem})
