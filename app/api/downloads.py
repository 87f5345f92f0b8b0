"""Files as answers: an ETag that is their sha256, one range at most, nothing twice."""

import re
from pathlib import Path
from typing import Protocol

from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

ONE_RANGE = re.compile(r"bytes=(?:(?P<first>\d{1,18})-(?P<last>\d{0,18})|-(?P<suffix>\d{1,18}))")


class StoredFile(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def name(self) -> str: ...


def build_file_response(request: Request, file: StoredFile) -> Response:
    """The file, the part of it that is asked for, or 304."""
    etag = f'"{file.sha256}"'
    if etag in request.headers.get("if-none-match", "") or request.headers.get("if-none-match") == "*":
        return Response(status_code=304, headers={"ETag": etag})
    _settle_range(request, file.path.stat().st_size)
    return FileResponse(file.path, media_type="application/octet-stream", filename=file.name, headers={"ETag": etag})


def _settle_range(request: Request, size: int) -> None:
    """Refuse a range outside the file; forget one that is no single range, as RFC 9110 allows."""
    asked = request.headers.get("range")
    if asked is None:
        return
    match = ONE_RANGE.fullmatch(asked.strip())
    if match is None or (match["last"] and int(match["last"]) < int(match["first"])):
        request.scope["headers"] = [(key, value) for key, value in request.scope["headers"] if key != b"range"]
    elif int(match["first"] or 0) >= size or match["suffix"] == "0":
        raise HTTPException(416, f"The file has {size} bytes.", {"Content-Range": f"bytes */{size}"})
