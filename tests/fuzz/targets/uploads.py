"""The target that reads the headers of resumable uploads: `Upload-Metadata` and `Upload-Checksum`."""

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.upload_metadata import parse_metadata, parse_target
from app.api.uploads import parse_checksum
from core.errors import ServiceError
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.errors import check_problem
from tests.support.uploads import encode_metadata

MAX_HEADER_BYTES = 16 * 2**10


def parse_headers(body: bytes) -> None:
    """Parse an input as both headers. What is accepted must be the same after it was encoded again."""
    header = body[:MAX_HEADER_BYTES].decode("latin-1")
    try:
        parse_checksum(header)
    except HTTPException as error:
        check_problem(error)
    try:
        values = parse_metadata(header)
        assert parse_metadata(encode_metadata(values)) == values, "the values change"
        target = parse_target(header)
        assert "/" not in target.dataset, "the name of the dataset is a path"
    except (ServiceError, HTTPException, RequestValidationError) as error:
        check_problem(error)


TARGETS = {
    "upload_headers": FuzzTarget(
        parse_headers,
        lambda: [
            encode_metadata({"dataset": "pets", "filename": "pets.zip", "filetype": "text/csv"}).encode(),
            encode_metadata({"dataset": "pets", "target": '["kind", "size"]', "window": "5"}).encode(),
            encode_metadata({"dataset": "../x", "valid_share": "0.5", "image_size": "16x16"}).encode(),
            b"dataset cGV0cw==,is_confidential,target W1td",
            b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            b"sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ],
        tokens=(b"dataset", b"target", b"window", b"filetype", b" ", b",", b"=", b"cGV0cw==", b"sha1", b"sha256"),
    )
}
