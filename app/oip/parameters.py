"""The path parameters of a model and its version. A version is a number or an alias."""

from typing import Annotated, Any

from fastapi import Depends, Path
from starlette.requests import Request

MAX_NAME_LENGTH = 63
"""A model of a longer name does not exist, so that such a request gets a 404."""
MODEL = "/models/{model}"
VERSION = MODEL + "/versions/{version}"
VERSION_PARAMETER: dict[str, Any] = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "The number of a version, or an alias.",
    "schema": {"type": "string", "maxLength": MAX_NAME_LENGTH},
    "example": "1",
}


def get_path_version(request: Request) -> str:
    """Return the version in the path; empty if the path has none, which means the model's default version."""
    return str(request.path_params.get("version", ""))


Model = Annotated[
    str,
    Path(description="The name of the model.", examples=["digits"], json_schema_extra={"maxLength": MAX_NAME_LENGTH}),
]
Version = Annotated[str, Depends(get_path_version)]
