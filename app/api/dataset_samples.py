"""`/v1/datasets/{name}/versions/{version}/samples`: lists the samples of a version and shows their images."""

from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request, Response

from app.api.datasets import DatasetName, Version
from app.api.strict_route import StrictRoute
from app.deps import DatasetSamplesDep, DownloadThreadsDep
from app.pagination import Cursor, Limit, Page
from app.schemas.dataset_samples import SampleOut
from app.schemas.problems import problem_responses

router = APIRouter(prefix="/v1/datasets/{name}/versions/{version}/samples", tags=["datasets"], route_class=StrictRoute)

SPLIT_PATTERN = "^(train|valid|test)$"
MIN_SIZE, MAX_SIZE = 8, 1024
NOT_MODIFIED = 304
IMAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "The image is unchanged: `If-None-Match` contains its ETag."},
}


@router.get("", responses=problem_responses(404, 409, 422))
async def list_samples(
    name: DatasetName,
    version: Version,
    samples: DatasetSamplesDep,
    threads: DownloadThreadsDep,
    label: Annotated[
        str | None, Query(alias="class", max_length=255, description="Only samples of this class.")
    ] = None,
    split: Annotated[str | None, Query(pattern=SPLIT_PATTERN, description="Only samples of this split.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[SampleOut]:
    """List the samples.

    Returns the name and the label of each sample, in the order of the splits `train`, `valid` and `test` and of the
    indices; for tables also the values. A page has fewer samples than `limit` if they have more than 100,000 values.
    """
    read = partial(samples.list_samples, label=label, split=split, cursor=cursor, limit=limit)
    items, next_cursor = await run_sync(read, name, version, limiter=threads)
    return Page(items=[SampleOut.model_validate(item) for item in items], next_cursor=next_cursor)


@router.get(
    "/{split}/{index}",
    response_class=Response,
    responses={**IMAGE, **problem_responses(404, 409, 422)},
)
async def show_sample_image(
    request: Request,
    name: DatasetName,
    version: Version,
    split: Annotated[str, Path(pattern=SPLIT_PATTERN, description="The split of the sample.")],
    index: Annotated[int, Path(ge=0, le=2**31 - 1, description="The index of the sample in its split, from 0.")],
    samples: DatasetSamplesDep,
    threads: DownloadThreadsDep,
    size: Annotated[
        int | None,
        Query(
            ge=MIN_SIZE,
            le=MAX_SIZE,
            description="The longer side of the image in pixels. Default: the size in the dataset.",
        ),
    ] = None,
) -> Response:
    """Get the image of a sample.

    Returns a PNG of the pixels that jobs train on, after the import has resized them. Returns 409 for tables.
    """
    image = await run_sync(samples.get_image, name, version, split, index, size, limiter=threads)
    headers = {"ETag": image.etag, "Cache-Control": "private, no-cache"}
    tags = request.headers.get("if-none-match", "")
    if image.etag in tags or tags == "*":
        return Response(status_code=NOT_MODIFIED, headers=headers)
    content = await run_sync(image.render, limiter=threads)
    return Response(content, media_type="image/png", headers=headers)
