"""The parts of the OpenAPI document that the endpoints of `/v2` share: error responses and bodies."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.http.cancellation import TIMEOUT_PARAMETER
from app.http.content_decoding import describe_unsupported
from app.http.middleware import format_size_limit
from app.oip.repository_schemas import OipIndexIn, OipLoadIn
from app.oip.schemas import InferIn, InferOut, OipErrorOut

TAG = "open inference protocol"
REPOSITORY_BODIES = (OipIndexIn, OipLoadIn)
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
HEADER_LENGTH_PARAMETER: dict[str, Any] = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "The number of bytes of the JSON, which the binary data follows. 0: the body is one image. Default: "
    "the whole body is JSON.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 10**12 - 1},
}
INFER_BODY: dict[str, Any] = {
    "required": True,
    "description": "JSON, JSON followed by binary data, or one image file.",
    "content": {
        "application/json": {
            "schema": {"$ref": f"#/components/schemas/{InferIn.__name__}"},
            "examples": {
                "pixels": {
                    "summary": "The pixels of one grayscale image of 2 x 2 pixels",
                    "value": {
                        "inputs": [
                            {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [0, 128, 255, 64]}
                        ]
                    },
                },
                "classes": {
                    "summary": "The three most probable classes of an image file in base64",
                    "value": {
                        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}],
                        "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
                    },
                },
            },
        },
        "application/octet-stream": BINARY,
    },
}
INFER_RESPONSE: dict[str, Any] = {
    "description": "The output tensors, as JSON or, if a tensor is binary data, as JSON followed by binary data.",
    "content": {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{InferOut.__name__}"}},
        "application/octet-stream": BINARY,
    },
    "headers": {
        "Inference-Header-Content-Length": {
            "schema": {"type": "integer"},
            "description": "The number of bytes of the JSON; absent if the whole body is JSON.",
        }
    },
}
INFER_OPERATION: dict[str, Any] = {
    "requestBody": INFER_BODY,
    "parameters": [HEADER_LENGTH_PARAMETER, TIMEOUT_PARAMETER],
}
DESCRIPTIONS = {
    400: "The request is malformed or does not match the model, or the model is not ready.",
    401: "The API key is missing or wrong.",
    404: "The model, the version or the alias does not exist.",
    413: "The body is too large.",
    415: "The body has an unknown Content-Encoding.",
    429: "Too many requests with this key or from this address; try again after `Retry-After` seconds.",
    500: "An internal error occurred, or the model is damaged.",
    501: "The request uses an extension that is not supported.",
    503: "The service is overloaded or unavailable; try again after `Retry-After` seconds.",
}
EXAMPLES = {
    400: "input 'image' is UINT8 of shape [1, 2, 2, 3]; the model takes shape [-1, 2, 2, 1] or [-1, 1, 2, 2]",
    401: "The API key is missing or wrong.",
    404: "Request for unknown model: Model 'cats' does not exist.",
    413: format_size_limit(64 * 2**20),
    415: describe_unsupported("lzma"),
    429: "Too many requests; try again in 1 s.",
    500: "Internal error; the log contains the details under the request id 3f2a.",
    501: "sequences are not supported: every image is predicted independently",
    503: "Too many predictions are waiting.",
}


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of an endpoint that may respond with these error statuses."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {
                "application/json": {
                    "schema": {"$ref": f"#/components/schemas/{OipErrorOut.__name__}"},
                    "example": {"error": EXAMPLES[status]},
                }
            },
        }
        for status in statuses
    }


def describe_body(body: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of an endpoint that reads an optional JSON body."""
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}


def get_operation_id(route: APIRoute) -> str:
    """Return the operation id of a route: the name of the function, with `_version` for the path of a version."""
    return f"{route.name}_version" if "{version}" in route.path else route.name
