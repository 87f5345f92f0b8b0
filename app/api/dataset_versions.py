"""`/v1/datasets/{name}/versions/{version}/…`: edit, compare and export dataset versions."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.datasets import DatasetName, Version
from app.api.export_response import start_export
from app.api.strict_route import StrictRoute
from app.api.upload_inspection import compare_in_thread
from app.deps import DatasetEditsDep, DatasetFilesDep, DownloadThreadsDep
from app.schemas.dataset_edits import ComparisonOut, EditIn
from app.schemas.datasets import DatasetVersionOut
from app.schemas.problems import problem_responses
from app.services.dataset_files import CompareBy, VersionReference
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/datasets/{name}/versions/{version}", tags=["datasets"], route_class=StrictRoute)

Base = Annotated[int, Query(ge=1, le=2**31 - 1, description="The number of the base version.")]
BaseName = Annotated[
    str | None,
    Query(pattern=NAME_PATTERN, description="The dataset of the base version. Default: the same dataset."),
]
By = Annotated[
    CompareBy,
    Query(
        description="`content` compares the pixels of images or the numbers of rows. `names` compares the names of "
        "samples only, which is fast for large datasets."
    ),
]
ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A zip archive with `dataset.json` and the samples.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/edits", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def edit_dataset_version(
    name: DatasetName, version: Version, edit: EditIn, response: Response, edits: DatasetEditsDep
) -> DatasetVersionOut:
    """Edit a dataset version.

    Creates a new version from an existing version without an upload. The operations are applied in order. No pixel or
    number changes, and samples keep their names. The state of the new version is `importing`; poll it until the state
    is `ready` or `failed`. The version that is edited does not change, and can be deleted when the import has ended.
    """
    row = edits.submit_edit(name, version, edit.operations, edit.name)
    response.headers["Location"] = f"/v1/datasets/{row.name}/versions/{row.version}"
    return DatasetVersionOut.from_row(row, with_all_samples=True)


@router.get("/diff", responses=problem_responses(404, 409, 422))
async def compare_dataset_versions(
    name: DatasetName,
    version: Version,
    request: Request,
    files: DatasetFilesDep,
    base: Base,
    base_name: BaseName = None,
    by: By = "content",
) -> ComparisonOut:
    """Compare two dataset versions.

    Returns the number of samples that were added, removed, relabelled, moved to another split or changed since the base
    version, per split and class, and the first 100 samples of each kind.
    """
    reference, base_reference = VersionReference(name, version), VersionReference(base_name or name, base)
    found = await compare_in_thread(request, partial(files.compare_versions, reference, base_reference, by))
    return ComparisonOut.from_comparison(found.row, found.base, found.comparison, by)


@router.get("/export", response_class=StreamingResponse, responses={**ZIP, **problem_responses(404, 409, 422)})
async def export_dataset_version(
    name: DatasetName, version: Version, files: DatasetFilesDep, threads: DownloadThreadsDep
) -> Response:
    """Export a dataset version.

    Returns a zip archive. Images are PNG files with the paths `split/class/name.png`, which can be uploaded again. A
    table is a CSV file for each split. `dataset.json` describes the version, and has the options for an upload of the
    files. Equal versions have equal archives.
    """
    build_chunks = partial(files.export_version, name, version)
    return await start_export(build_chunks, f"{name}-{version}.zip", threads)
