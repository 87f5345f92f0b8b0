"""Builds the bodies of prediction requests from images, instances and table rows."""

import base64
import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from candela.types import Image

Body = dict[str, Any]  # options of httpx, such as `json` or `files`


def build_images_body(images: Image | Sequence[Image]) -> Body:
    """Return the body with one image as its content, or several images as parts."""
    if isinstance(images, str | bytes | os.PathLike):
        return build_image_body(images)
    return {"files": [("images", _read_image(image, number)) for number, image in enumerate(images)]}


def build_image_body(image: Image) -> Body:
    """Return the body with an image as its content."""
    name, content = _read_image(image, 0)
    media_type = mimetypes.guess_type(name)[0] or "image/png"  # the server detects the actual type
    return {"content": content, "headers": {"Content-Type": media_type}}


def build_instances_body(instances: Sequence[Mapping[str, Any]], top_k: int | None = None) -> Body:
    """Return the body with instances, `{"image": <base64 or bytes>}` or `{"values": […]}`."""
    return _build_json_body("instances", [_encode_instance(instance) for instance in instances], top_k)


def build_rows_body(rows: Sequence[Mapping[str, Any]], top_k: int | None = None) -> Body:
    """Return the body with the rows of a table, which map names of columns to values."""
    return _build_json_body("rows", [dict(row) for row in rows], top_k)


def set_timeout(body: Body, timeout_s: float | None) -> Body:
    """Return the body with the header that limits the time of the request on the server, if there is a limit."""
    if timeout_s is None:
        return body
    return {**body, "headers": {**body.get("headers", {}), "X-Request-Timeout": str(timeout_s)}}


def _build_json_body(field: str, items: Sequence[Mapping[str, Any]], top_k: int | None) -> Body:
    return {"json": {field: items} if top_k is None else {field: items, "top_k": top_k}}


def _read_image(image: Image, number: int) -> tuple[str, bytes]:
    if isinstance(image, bytes):
        return f"image-{number}", image
    path = Path(image)
    return path.name, path.read_bytes()


def _encode_instance(instance: Mapping[str, Any]) -> dict[str, Any]:
    image = instance.get("image")
    if isinstance(image, bytes):
        return {**instance, "image": base64.b64encode(image).decode("ascii")}
    return dict(instance)
