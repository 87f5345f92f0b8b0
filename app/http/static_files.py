"""Static files with an ETag, which browsers revalidate, so that an update of the service is visible at once."""

from os import PathLike, stat_result
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.byte_ranges import RangeResponse, select_range


class RangeStaticFiles(StaticFiles):
    """Static files whose invalid ranges are problems: Starlette's own parsing responds with plain text."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"  # browsers ask again with the ETag
        if not isinstance(response, FileResponse):  # a 304
            return response
        byte_range = select_range(Headers(scope=scope), stat_result.st_size, response.headers["etag"])
        headers = {"Cache-Control": response.headers["cache-control"]}
        return RangeResponse(
            Path(full_path), byte_range=byte_range, stat_result=stat_result, status_code=status_code, headers=headers
        )
