"""Registers and lists models, sets aliases, creates variants, computes predictions and downloads bundles."""

import base64
import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from candela.jobs import Job
from candela.pagination import iterate_items
from candela.transport import Transport
from candela.types import Predictions

Image = str | os.PathLike[str] | bytes  # a path, or the content of an image file


class Models:
    """The models of a server, available as `client.models`.

    A `ref` is `name` (the newest version), `name@3` or `name@alias`.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[dict[str, Any]]:
        return list(iterate_items(self._transport, "/v1/models"))

    def get(self, name: str) -> dict[str, Any]:
        """Return the versions and aliases of a model."""
        response: dict[str, Any] = self._transport.json("GET", f"/v1/models/{name}")
        return response

    def version(self, name: str, version: int) -> dict[str, Any]:
        """Return one version with its job, dataset, spec, metrics and the sha256 of its weights."""
        response: dict[str, Any] = self._transport.json("GET", f"/v1/models/{name}/versions/{version}")
        return response

    def register(
        self,
        name: str,
        architecture: str | Mapping[str, Any],
        weights: str = "pretrained",
        **options: Any,  # noqa: ANN401 - JSON
    ) -> Job:
        """Register a network with existing weights as a model, without training. Return the job; `wait` waits for it.

        Args:
            name: the name of the model.
            architecture: the name of the architecture, or a mapping with `name` and options.
            weights: `pretrained`, or `file:<name>` for a file in the weights folder of the workers.
            **options: `image_shape`, `classes`, `mean`, `std` and `resize`. Default: those of the published weights.
        """
        chosen = {"name": architecture} if isinstance(architecture, str) else dict(architecture)
        body = {"name": name, "architecture": chosen, "weights": weights, **options}
        return Job(self._transport, self._transport.json("POST", "/v1/models", json=body))

    def alias(self, name: str, alias: str, version: int, *, variant: str | None = None) -> dict[str, Any]:
        """Set an alias such as `champion` to a version or one of its variants."""
        body = {"version": version} | ({} if variant is None else {"variant": variant})
        response: dict[str, Any] = self._transport.json("PUT", f"/v1/models/{name}/aliases/{alias}", json=body)
        return response

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete a version with its variants; default: the model with all versions and aliases."""
        self._transport.request("DELETE", f"/v1/models/{name}" + ("" if version is None else f"/versions/{version}"))

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias. Its version remains."""
        self._transport.request("DELETE", f"/v1/models/{name}/aliases/{alias}")

    def describe(self, name: str, version: int | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Set the `description` or the `tags` of a model, or of a version. Return it."""
        path = f"/v1/models/{name}" + ("" if version is None else f"/versions/{version}")
        response: dict[str, Any] = self._transport.json("PATCH", path, json=changes)
        return response

    def make_variant(self, name: str, version: int, format: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Submit a job that creates a variant, and return the job as JSON. `options` are options of the variant."""
        body = {"format": format, **options}
        response: dict[str, Any] = self._transport.json(
            "POST", f"/v1/models/{name}/versions/{version}/variants", json=body
        )
        return response

    def variants(self, name: str, version: int) -> Sequence[dict[str, Any]]:
        """Return the variants of a version with their measurements."""
        response: dict[str, Any] = self._transport.json("GET", f"/v1/models/{name}/versions/{version}/variants")
        items: Sequence[dict[str, Any]] = response["items"]
        return items

    def predict(
        self,
        ref: str,
        images: Image | Sequence[Image],
        *,
        top_k: int | None = None,
        variant: str | None = None,
    ) -> Predictions:
        """Predict one or more images. If there are several images, the prediction of an invalid image is an error.

        Args:
            ref: the model and version, such as `name@3`.
            images: paths or contents of image files.
            top_k: maximum number of classes per image; default: the server's default.
            variant: format of a variant, such as `int8`; default: the variant that the alias selects.
        """
        body: dict[str, Any]
        if isinstance(images, str | bytes | os.PathLike):
            name, content = _read_image(images, 0)
            media_type = mimetypes.guess_type(name)[0] or "image/png"  # the server detects the actual type
            body = {"content": content, "headers": {"Content-Type": media_type}}
        else:
            body = {"files": [("images", _read_image(image, n)) for n, image in enumerate(images)]}
        options: dict[str, Any] = {"top_k": top_k, "variant": variant}
        params = {name: value for name, value in options.items() if value is not None}
        response: Predictions = self._transport.json(
            "POST", f"/v1/models/{ref}/predict", params=params, repeatable=True, **body
        )
        return response

    def predict_instances(
        self, ref: str, instances: Sequence[Mapping[str, Any]], *, top_k: int | None = None
    ) -> Predictions:
        """Predict instances. Each instance is `{"image": <base64 or bytes>}` or `{"values": […]}`."""
        body: dict[str, Any] = {"instances": [_encode_instance(instance) for instance in instances]}
        if top_k is not None:
            body["top_k"] = top_k
        response: Predictions = self._transport.json("POST", f"/v1/models/{ref}/predict", json=body, repeatable=True)
        return response

    def predict_rows(self, ref: str, rows: Sequence[Mapping[str, Any]], *, top_k: int | None = None) -> Predictions:
        """Predict table rows. A row maps column names to values; omitted columns and None are missing values."""
        body: dict[str, Any] = {"rows": [dict(row) for row in rows]} | ({} if top_k is None else {"top_k": top_k})
        response: Predictions = self._transport.json("POST", f"/v1/models/{ref}/predict", json=body, repeatable=True)
        return response

    def bundle(self, name: str, version: int, path: str | os.PathLike[str]) -> Path:
        """Download a version as a zip of `weights.safetensors` and `bundle.json`. Return the path of the zip."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            url = f"/v1/models/{name}/versions/{version}/bundle"
            with self._transport.stream("GET", url) as response, part.open("wb") as file:
                file.writelines(response.iter_bytes())
            part.replace(target)  # a rename, so that other processes never read an incomplete bundle
        finally:
            part.unlink(missing_ok=True)
        return target


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
