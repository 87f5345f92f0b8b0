"""`/v1/datasets`: list, upload and delete datasets, and get import reports and previews."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from app.api.downloads import build_image_response
from app.api.inline_request import INLINE_BODY, move_pointers_to_body, parse_inline_dataset, stream_bytes
from app.api.multipart_stream import parse_boundary, stream_file
from app.api.strict_route import StrictRoute
from app.api.upload_inspection import inspect_upload
from app.api.upload_params import UploadParams
from app.deps import DatasetReaderDep, DatasetsDep, DownloadThreadsDep, ResourceDescriptionsDep, StorageDep
from app.http.asgi import get_media_type
from app.pagination import Cursor, Limit, Page
from app.schemas.datasets import DatasetOut, DatasetVersionOut, ReportOut
from app.schemas.descriptions import DescriptionIn, TagFilter
from app.schemas.problems import problem_responses
from app.services.datasets import DatasetService, check_new_name
from app.services.uploads import save_upload
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)

DatasetName = Annotated[str, Path(pattern=NAME_PATTERN, description="The name of the dataset.")]
Version = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of the version.")]
_FILE = {"type": "string", "format": "binary", "description": "An archive of images, or a CSV file."}
_FORM = {"type": "object", "properties": {"file": _FILE}, "required": ["file"], "additionalProperties": False}
_CSV = "text/csv"
_RAW = ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream", _CSV)
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A zip, tar or tar.gz archive of image files with the paths `class/image`, or "
        "`train/class/image`, `valid/class/image` and `test/class/image`. Or a CSV file whose first line contains the "
        "column names.",
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **{kind: {"schema": _FILE} for kind in _RAW},
            _CSV: {"schema": _FILE, "example": "age,weight,kind\n3,4.2,cat\n5,30.5,dog\n4,3.9,cat\n"},
        },
    }
}
PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A contact sheet of training images.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("", responses=problem_responses(422))
def list_datasets(
    datasets: DatasetReaderDep, tag: TagFilter = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[DatasetOut]:
    """List datasets.

    Returns uploaded and built-in datasets in alphabetical order.
    """
    views, next_cursor = datasets.list_datasets(after=cursor or "", limit=limit, tags=tag or ())
    return Page(items=[DatasetOut.from_versions(*view) for view in views], next_cursor=next_cursor)


@router.post(
    "",
    status_code=202,
    responses=problem_responses(400, 409, 413, 415, 422, 507),
    openapi_extra=INLINE_BODY,
)
async def create_dataset(
    request: Request, response: Response, datasets: DatasetsDep, storage: StorageDep
) -> DatasetVersionOut:
    """Create a dataset from JSON.

    The body contains the data as rows or images. Creates the dataset if it does not exist, and adds a version with the
    state `importing`. A file upload of the same data creates an equal version. Numbers in rows are parsed as in a CSV
    file; `null` is a missing value. For large data, upload a file to `/v1/datasets/{name}/versions`.
    """
    name, file = await parse_inline_dataset(request)
    check_new_name(name, "/name")
    async with save_upload(storage, stream_bytes(file.body)) as path:
        with move_pointers_to_body():
            accept = partial(datasets.accept_upload, name, path, file.options)
            row = await inspect_upload(request, accept)
    response.headers["Location"] = f"/v1/datasets/{name}/versions/{row.version}"
    return DatasetVersionOut.from_row(row)


@router.get("/{name}", responses=problem_responses(404, 422))
def show_dataset(name: DatasetName, datasets: DatasetReaderDep) -> DatasetOut:
    """Get a dataset.

    The versions of the dataset are listed newest first.
    """
    return DatasetOut.from_versions(*datasets.get_dataset(name))


@router.patch("/{name}", responses=problem_responses(400, 404, 413, 415, 422))
def update_dataset(
    name: DatasetName, changes: DescriptionIn, datasets: DatasetsDep, descriptions: ResourceDescriptionsDep
) -> DatasetOut:
    """Describe a dataset.

    Sets the description or the tags of the dataset.
    """
    descriptions.describe_dataset(name, changes.model_dump(exclude_unset=True))
    return DatasetOut.from_versions(*datasets.get_dataset(name))


@router.delete("/{name}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_dataset(name: DatasetName, datasets: DatasetsDep) -> None:
    """Delete a dataset.

    Deletes all versions with their files. Returns 409 as long as a job refers to one of them, even a job that has
    ended; `facts.dependents` lists the jobs. Models that were trained on it remain. A built-in dataset is imported
    again when a job uses it.
    """
    datasets.delete_dataset(name)


@router.post(
    "/{name}/versions",
    status_code=202,
    responses=problem_responses(400, 409, 413, 422, 507),
    openapi_extra=UPLOAD_BODY,
)
async def upload_dataset(
    name: DatasetName,
    request: Request,
    response: Response,
    datasets: DatasetsDep,
    storage: StorageDep,
    params: Annotated[UploadParams, Query()],
) -> DatasetVersionOut:
    """Upload a dataset version.

    Creates the dataset if it does not exist. The format is detected from the first bytes of the body, not from its
    content type; a multipart body has one part named `file`. Images are JPEG, PNG, WEBP, GIF, BMP or TIFF; only the
    first frame or page is used. A CSV file with a single column requires the content type `text/csv`. The state of the
    new version is `importing`; poll it until the state is `ready` or `failed`. To send nested arrays of numbers as
    JSON, use `POST /v1/datasets`.
    """
    check_new_name(name)
    options = params.to_options() | {"is_table": get_media_type(request.scope) == _CSV}
    async with save_upload(storage, stream_upload(request)) as archive:
        accept = partial(datasets.accept_upload, name, archive, options)
        row = await inspect_upload(request, accept)
    response.headers["Location"] = f"/v1/datasets/{name}/versions/{row.version}"
    return DatasetVersionOut.from_row(row)


def stream_upload(request: Request) -> AsyncIterator[bytes]:
    """Yield the chunks of an uploaded file. The body is the file itself or a multipart form with one file."""
    boundary = parse_boundary(request.headers.get("content-type", ""))
    return stream_file(_stream_body(request), boundary, "file") if boundary else _stream_body(request)


async def _stream_body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise HTTPException(400, "The body is incomplete.") from None


@router.get("/{name}/versions/{version}", responses=problem_responses(404, 422))
def show_dataset_version(name: DatasetName, version: Version, datasets: DatasetReaderDep) -> DatasetVersionOut:
    """Get a dataset version.

    Returns its state, its source, and what the import found: the task, the classes and the size of each split.
    """
    return _build_version(name, version, datasets)


@router.patch("/{name}/versions/{version}", responses=problem_responses(400, 404, 413, 415, 422))
def update_dataset_version(
    name: DatasetName,
    version: Version,
    changes: DescriptionIn,
    datasets: DatasetsDep,
    descriptions: ResourceDescriptionsDep,
) -> DatasetVersionOut:
    """Describe a dataset version.

    Sets the description or the tags of the version.
    """
    descriptions.describe_dataset_version(name, version, changes.model_dump(exclude_unset=True))
    return _build_version(name, version, datasets)


def _build_version(name: str, version: int, datasets: DatasetService) -> DatasetVersionOut:
    row, description = datasets.get_version(name, version), datasets.get_version_description(name, version)
    return DatasetVersionOut.from_row(row, description, with_all_samples=True)


@router.get("/{name}/versions/{version}/report", responses=problem_responses(404, 409, 422))
def report_dataset(name: DatasetName, version: Version, datasets: DatasetReaderDep) -> ReportOut:
    """Get the report of an import.

    The report contains the sample counts, unreadable files, equal images, equal images in different splits, and the
    mean and standard deviation per channel.
    """
    return ReportOut.from_report(datasets.get_report(name, version))


@router.get(
    "/{name}/versions/{version}/preview",
    response_class=FileResponse,
    responses={**PNG, **problem_responses(404, 409, 422)},
)
async def preview_dataset(
    request: Request, name: DatasetName, version: Version, datasets: DatasetReaderDep, threads: DownloadThreadsDep
) -> Response:
    """Get a preview.

    Returns a contact sheet with a few training images of each class, as a PNG.
    """
    return build_image_response(request, await run_sync(datasets.fetch_preview, name, version, limiter=threads))


@router.delete("/{name}/versions/{version}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_dataset_version(name: DatasetName, version: Version, datasets: DatasetsDep) -> None:
    """Delete a dataset version.

    Deletes the files of the version too. Returns 409 as long as a job refers to the version, even a job that has ended.
    Models that were trained on the version remain.
    """
    datasets.delete_version(name, version)
