"""`/v1/datasets`: what there is, uploads, reports and previews."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from app.api.inline_request import INLINE_BODY, move_pointers_to_body, parse_inline_dataset, stream_bytes
from app.api.multipart_stream import parse_boundary, stream_file
from app.api.strict_route import StrictRoute
from app.api.table_params import TableQueryDep
from app.deps import DatasetReaderDep, DatasetsDep, StorageDep
from app.http.asgi import get_media_type
from app.pagination import Cursor, Limit, Page
from app.schemas.datasets import DatasetOut, DatasetVersionOut, ReportOut
from app.schemas.problems import problem_responses
from app.services.datasets import refuse_built_in
from app.services.uploads import save_upload
from core.datasets.ingest.archive import IMAGE_SIZE
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)

DatasetName = Annotated[str, Path(pattern=NAME_PATTERN, description="A new version is made if the dataset exists.")]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
_FILE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"file": _FILE}, "required": ["file"], "additionalProperties": False}
_CSV = "text/csv"
_RAW = ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream", _CSV)
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A zip, tar or tar.gz of `class/picture`, or of `train/class/picture` and `valid/…`, `test/…`. "
        "Or a table as CSV, whose first line names the columns.",
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **{kind: {"schema": _FILE} for kind in _RAW},
            _CSV: {"schema": _FILE, "example": "age,weight,kind\n3,4.2,cat\n5,30.5,dog\n4,3.9,cat\n"},
        },
    }
}
PNG: dict[int | str, dict[str, Any]] = {
    200: {"description": "A contact sheet.", "content": {"image/png": {"schema": _FILE}}}
}


@router.get("", responses=problem_responses(422))
def list_datasets(datasets: DatasetReaderDep, cursor: Cursor = None, limit: Limit = 50) -> Page[DatasetOut]:
    """List datasets in alphabetical order, the built-in ones among them."""
    views, next_cursor = datasets.list_datasets(after=cursor or "", limit=limit)
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
    """Create a version of a dataset from data in the request itself.

    It is what an upload of the same rows or pictures would be: a new version if the dataset exists, `importing` at
    first. A row's numbers are read as those of a CSV file; `null` is a missing one where `missing` says what becomes
    of it. For anything large, upload a file to `/v1/datasets/{name}/versions`.
    """
    name, file = await parse_inline_dataset(request)
    refuse_built_in(name)
    async with save_upload(storage, stream_bytes(file.body)) as path:
        with move_pointers_to_body():
            row = await run_sync(datasets.accept_upload, name, path, file.options)
    response.headers["Location"] = f"/v1/datasets/{name}/versions/{row.version}"
    return DatasetVersionOut.from_row(row)


@router.get("/{name}", responses=problem_responses(404, 422))
def show_dataset(name: DatasetName, datasets: DatasetReaderDep) -> DatasetOut:
    """Show a dataset and its versions, newest first."""
    return DatasetOut.from_versions(*datasets.get_dataset(name))


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
    of_table: TableQueryDep,
    image_size: Annotated[
        str | None,
        Query(
            pattern=IMAGE_SIZE,
            description="`64`, or height x width: `48x64`. Unless given: the size of most pictures, or the median of "
            "their shorter sides, at most 224.",
        ),
    ] = None,
    resize: Annotated[
        Literal["stretch", "crop"] | None,
        Query(description="`crop` keeps the proportions and cuts the middle; `stretch` unless given."),
    ] = None,
) -> DatasetVersionOut:
    """Upload a new version of a dataset.

    The body is told by its first bytes, not by its content type; as multipart it has one part, named `file`. Pictures
    are JPEG, PNG or WEBP. A table of a single column is known by `text/csv` alone. The version is `importing` at first;
    look at it again until it is `ready` or `failed`. Nested lists of numbers are sent to `/v1/datasets`, as JSON.
    """
    refuse_built_in(name)
    of_images = {"image_size": image_size, "resize": resize}
    options = of_table | {option: value for option, value in of_images.items() if value is not None}
    options["is_table"] = get_media_type(request.scope) == _CSV
    async with save_upload(storage, stream_upload(request)) as archive:
        row = await run_sync(datasets.accept_upload, name, archive, options)
    response.headers["Location"] = f"/v1/datasets/{name}/versions/{row.version}"
    return DatasetVersionOut.from_row(row)


def stream_upload(request: Request) -> AsyncIterator[bytes]:
    """The one file of a request, as it is or as multipart."""
    boundary = parse_boundary(request.headers.get("content-type", ""))
    return stream_file(_stream_body(request), boundary, "file") if boundary else _stream_body(request)


async def _stream_body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:  # nobody will read this answer; it is no bug of ours
        raise HTTPException(400, "The body ended too early.") from None


@router.get("/{name}/versions/{version}", responses=problem_responses(404, 422))
def show_dataset_version(name: DatasetName, version: Version, datasets: DatasetReaderDep) -> DatasetVersionOut:
    """Show one version of a dataset."""
    return DatasetVersionOut.from_row(datasets.get_version(name, version))


@router.get("/{name}/versions/{version}/report", responses=problem_responses(404, 409, 422))
def report_dataset(name: DatasetName, version: Version, datasets: DatasetReaderDep) -> ReportOut:
    """Report what an import found: counts, unreadable files, duplicates, leaks across splits, means and deviations."""
    return ReportOut.from_report(datasets.get_report(name, version))


@router.get(
    "/{name}/versions/{version}/preview", response_class=FileResponse, responses={**PNG, **problem_responses(404, 409, 422)}
)
def preview_dataset(name: DatasetName, version: Version, datasets: DatasetReaderDep) -> FileResponse:
    """Show a contact sheet: a few training pictures of every class under its name, as PNG."""
    return FileResponse(datasets.fetch_preview(name, version), media_type="image/png")


@router.delete("/{name}/versions/{version}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_dataset_version(name: DatasetName, version: Version, datasets: DatasetsDep) -> None:
    """Delete a version with its files; 409 while jobs refer to it, finished or not. Models trained on it stay."""
    datasets.delete_version(name, version)
