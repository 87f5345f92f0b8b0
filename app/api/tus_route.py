"""The route class of resumable uploads: checks the version of the tus protocol, and adds the headers of its responses.

Source: tus resumable upload protocol 1.0.0, https://tus.io/protocols/resumable-upload.
"""

from collections.abc import Callable, Coroutine
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.api.strict_route import StrictRoute
from app.problems import build_error_response
from app.schemas.uploads import get_version_path
from app.services.upload_writer import CHECKSUM_ALGORITHMS
from core.db.upload_tables import UploadRow
from core.errors import UnsupportedVersion

VERSION = "1.0.0"
EXTENSIONS = ("creation", "creation-with-upload", "expiration", "checksum", "termination")
_VERSIONED_METHODS = frozenset({"POST", "PATCH"})  # others may omit the version, as simple clients do
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TusRoute(StrictRoute):
    """Rejects other versions of the protocol, and adds `Tus-Resumable` to every response, also to errors."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle_versioned(request: Request) -> Response:
            try:
                _check_version(request)
                response = await handler(request)
            except Exception as error:
                problem = build_error_response(request, error)
                if problem is None:
                    raise
                response = problem
            response.headers["Tus-Resumable"] = VERSION
            response.headers["Cache-Control"] = "no-store"
            if response.status_code == 412:
                response.headers["Tus-Version"] = VERSION
            return response

        return handle_versioned


def build_capability_headers(max_bytes: int, methods: str) -> dict[str, str]:
    """Return the headers of a response to OPTIONS."""
    return {
        "Allow": methods,
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUM_ALGORITHMS),
    }


def build_upload_headers(upload: UploadRow) -> dict[str, str]:
    """Return the headers that describe an upload."""
    headers = {
        "Upload-Offset": str(upload.received_bytes),
        "Upload-Length": str(upload.length_bytes),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=True),
    }
    if upload.metadata_header:
        headers["Upload-Metadata"] = upload.metadata_header
    if path := get_version_path(upload):
        headers["Upload-Result"] = path
    return headers


def _check_version(request: Request) -> None:
    version = request.headers.get("tus-resumable")
    is_required = request.method in _VERSIONED_METHODS
    if version != VERSION and request.method != "OPTIONS" and (is_required or version is not None):
        raise UnsupportedVersion(f"Tus-Resumable: must be {VERSION}; got {(version or 'none')[:40]}.")
