"""`/v1/uploads`: resumable uploads of datasets with the tus protocol 1.0.0.

Source: https://tus.io/protocols/resumable-upload, with the extensions creation, creation-with-upload, expiration,
checksum and termination.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Request, Response
from starlette.requests import ClientDisconnect

from app.api.tus_route import VERSION, TusRoute, build_capability_headers, build_upload_headers
from app.api.upload_metadata import MAX_METADATA_CHARACTERS, parse_target
from app.deps import OwnerDep, ResumableUploadsDep
from app.http.asgi import get_header, get_media_type
from app.http.refusals import has_body
from app.pagination import Cursor, Limit, Page
from app.problems import InvalidJson
from app.schemas.problems import problem_responses
from app.schemas.uploads import UploadOut
from app.services.resumable_uploads import NewUpload
from app.services.upload_writer import CHECKSUM_ALGORITHMS, BodyInterrupted, Checksum
from core.base64_text import InvalidBase64, decode_base64
from core.db.upload_tables import UploadRow
from core.errors import UploadGone
from core.jobs import UploadState

router = APIRouter(prefix="/v1/uploads", tags=["datasets"], route_class=TusRoute)

MAX_LENGTH = 2**53 - 1  # integers up to here are exact in JavaScript
CHUNK_TYPE = "application/offset+octet-stream"
_CHUNK = {"type": "string", "format": "binary", "description": "Bytes of the file."}
_CHUNK_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {CHUNK_TYPE: {"schema": _CHUNK}}}}
_FIRST_CHUNK_BODY: dict[str, Any] = {"requestBody": {"required": False, "content": {CHUNK_TYPE: {"schema": _CHUNK}}}}
_LENGTH_HEADER = {"schema": {"type": "integer"}, "description": "Number of received bytes."}
_RESULT_HEADER = {"schema": {"type": "string"}, "description": "The path of the created dataset version."}
_APPENDED: dict[int | str, dict[str, Any]] = {
    204: {
        "description": "The bytes are stored. After the last byte, the dataset version is created.",
        "headers": {"Upload-Offset": _LENGTH_HEADER, "Upload-Result": _RESULT_HEADER},
    }
}

UploadId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The id of the upload.")]
TusVersion = Annotated[
    str | None, Header(alias="Tus-Resumable", max_length=40, description=f"The protocol version: `{VERSION}`.")
]
Length = Annotated[
    int | None, Header(alias="Upload-Length", ge=1, le=MAX_LENGTH, description="The size of the file in bytes.")
]
DeferLength = Annotated[
    str | None, Header(alias="Upload-Defer-Length", max_length=40, description="Not supported: send `Upload-Length`.")
]
Metadata = Annotated[
    str,
    Header(
        alias="Upload-Metadata",
        max_length=MAX_METADATA_CHARACTERS,
        description="Pairs of a key and a base64 value, separated by commas. `dataset` (required) is the name of the "
        "dataset. `filetype` is the media type; `text/csv` marks a table. The query parameters of "
        "`POST /v1/datasets/{name}/versions` are optional keys; a list is a JSON array.",
    ),
]
Offset = Annotated[
    int,
    Header(alias="Upload-Offset", ge=0, le=MAX_LENGTH, description="Number of bytes that the server has received."),
]
ChunkChecksum = Annotated[
    str | None,
    Header(
        alias="Upload-Checksum",
        max_length=200,
        description=f"The checksum of the body: {' or '.join(CHECKSUM_ALGORITHMS)}, a space, and the base64 digest.",
    ),
]


@router.options("", include_in_schema=False)
async def show_creation_capabilities(uploads: ResumableUploadsDep) -> Response:
    """Return the capabilities of the protocol implementation."""
    return Response(status_code=204, headers=build_capability_headers(uploads.max_bytes, "GET, HEAD, POST, OPTIONS"))


@router.options("/{upload_id}", include_in_schema=False)
async def show_upload_capabilities(upload_id: str, uploads: ResumableUploadsDep) -> Response:
    """Return the capabilities of the protocol implementation."""
    methods = "GET, HEAD, PATCH, DELETE, OPTIONS"
    return Response(status_code=204, headers=build_capability_headers(uploads.max_bytes, methods))


@router.get("", responses=problem_responses(412, 422))
async def list_uploads(
    uploads: ResumableUploadsDep, owner: OwnerDep, cursor: Cursor = None, limit: Limit = 50
) -> Page[UploadOut]:
    """List resumable uploads.

    Returns the uploads of the API key, newest first, until they expire.
    """
    rows, next_cursor = await uploads.list_uploads(owner, cursor, limit)
    return Page(items=[UploadOut.from_row(row) for row in rows], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    responses=problem_responses(400, 409, 412, 413, 415, 422, 460, 507),
    openapi_extra=_FIRST_CHUNK_BODY,
)
async def create_upload(
    request: Request,
    response: Response,
    uploads: ResumableUploadsDep,
    owner: OwnerDep,
    metadata: Metadata = "",
    length: Length = None,
    defer_length: DeferLength = None,
    checksum: ChunkChecksum = None,
    _version: TusVersion = None,
) -> UploadOut:
    """Create a resumable upload.

    The protocol is tus 1.0.0, so tus clients work: send the file in one or several PATCH requests to the path in
    `Location`. After an interruption, HEAD returns the number of received bytes in `Upload-Offset`. The body may
    already contain the first bytes. When all bytes are received, the dataset version is created as by
    `POST /v1/datasets/{name}/versions`, and `Upload-Result` is its path.
    """
    if length is None:
        reason = "is required when an upload is created" if defer_length else "is missing"
        raise InvalidJson("Upload-Length:", f"{reason}; Upload-Defer-Length is not supported")
    target = parse_target(metadata)
    verifier = parse_checksum(checksum)
    if has_body(request.scope):
        _require_chunk_type(request)
    upload = await uploads.create_upload(owner, NewUpload(target.dataset, length, target.options, metadata))
    if has_body(request.scope):
        upload = await _append_first_chunk(request, uploads, upload, verifier)
    response.headers.update(build_upload_headers(upload))
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return UploadOut.from_row(upload)


@router.get("/{upload_id}", responses=problem_responses(404, 412, 422))
async def show_upload(
    upload_id: UploadId, response: Response, uploads: ResumableUploadsDep, owner: OwnerDep, _version: TusVersion = None
) -> UploadOut:
    """Get a resumable upload.

    HEAD returns the same headers without the body, and 410 if the file was rejected, so that clients create a new
    upload.
    """
    upload = await uploads.get_upload(owner, upload_id)
    response.headers.update(build_upload_headers(upload))
    return UploadOut.from_row(upload)


@router.head("/{upload_id}", include_in_schema=False)
async def show_upload_offset(
    upload_id: UploadId, uploads: ResumableUploadsDep, owner: OwnerDep, _version: TusVersion = None
) -> Response:
    """Return the offset of an upload in `Upload-Offset`."""
    upload = await uploads.get_upload(owner, upload_id)
    if upload.state is UploadState.FAILED:
        raise UploadGone(f"The file was rejected: {(upload.problem or {}).get('detail', '')}")
    return Response(status_code=200, headers=build_upload_headers(upload))


@router.patch(
    "/{upload_id}",
    status_code=204,
    responses={**_APPENDED, **problem_responses(400, 404, 409, 410, 412, 413, 415, 422, 423, 460, 507)},
    openapi_extra=_CHUNK_BODY,
)
async def append_upload(
    upload_id: UploadId,
    request: Request,
    uploads: ResumableUploadsDep,
    owner: OwnerDep,
    offset: Offset,
    checksum: ChunkChecksum = None,
    _version: TusVersion = None,
) -> Response:
    """Append bytes to an upload.

    Bytes that arrived before an interruption count, unless the request has an `Upload-Checksum`. After the last byte,
    the file is inspected, and the response has the path of the dataset version in `Upload-Result`. If the file is
    rejected, the response is the error, and the upload has the state `failed`.
    """
    _require_chunk_type(request)
    verifier = parse_checksum(checksum)
    upload = await _append(request, uploads, owner, upload_id, offset, verifier)
    return Response(status_code=204, headers=build_upload_headers(upload))


@router.delete("/{upload_id}", status_code=204, responses=problem_responses(404, 412, 422))
async def delete_upload(
    upload_id: UploadId, uploads: ResumableUploadsDep, owner: OwnerDep, _version: TusVersion = None
) -> Response:
    """Delete an upload.

    Deletes the received bytes. A dataset version that was created from the upload remains.
    """
    await uploads.delete_upload(owner, upload_id)
    return Response(status_code=204)


def parse_checksum(header: str | None) -> Checksum | None:
    """Return the checksum in `Upload-Checksum`, or None if the header is absent.

    Raises:
        HTTPException: 400, the algorithm is not supported, or the digest is not base64 or has the wrong length.
    """
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    sizes = {"sha256": 32, "sha1": 20}
    try:
        digest = decode_base64(encoded)
    except InvalidBase64:
        digest = b""
    if algorithm not in CHECKSUM_ALGORITHMS or len(digest) != sizes[algorithm]:
        accepted = " or ".join(CHECKSUM_ALGORITHMS)
        detail = f"Upload-Checksum: must be {accepted}, a space, and the digest in base64; got {header[:80]}."
        raise HTTPException(400, detail)
    return Checksum(algorithm, digest)


async def _append_first_chunk(
    request: Request, uploads: ResumableUploadsDep, upload: UploadRow, checksum: Checksum | None
) -> UploadRow:
    """Append the body of the request that creates an upload. After an error, delete the upload.

    The client has not received the path of the upload, so it cannot continue it. An upload whose file was rejected
    is deleted, too.
    """
    is_stored = False
    try:
        appended = await _append(request, uploads, upload.owner, upload.id, 0, checksum)
        is_stored = True
    finally:
        if not is_stored:
            await uploads.delete_upload(upload.owner, upload.id)
    return appended


async def _append(
    request: Request,
    uploads: ResumableUploadsDep,
    owner: str,
    upload_id: str,
    offset: int,
    checksum: Checksum | None,
) -> UploadRow:
    length = get_header(request.scope, b"content-length")
    try:
        return await uploads.append_chunk(
            owner,
            upload_id,
            offset,
            _stream_body(request),
            content_length=None if length is None else int(length),
            checksum=checksum,
        )
    except BodyInterrupted:
        raise HTTPException(400, "The body is incomplete.") from None


async def _stream_body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise BodyInterrupted from None


def _require_chunk_type(request: Request) -> None:
    media_type = get_media_type(request.scope)
    if media_type != CHUNK_TYPE:
        raise HTTPException(415, f"The media type of the body must be {CHUNK_TYPE}; got {media_type[:80] or 'none'}.")
