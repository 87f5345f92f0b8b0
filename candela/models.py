"""Models: list versions, move aliases, predict, download bundles."""

import base64
import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from candela.pagination import pages
from candela.transport import Transport
from candela.types import Predictions

Image = str | os.PathLike[str] | bytes  # a file, or the file's bytes


class Models:
    """`client.models`. A `ref` is `name` (the newest version), `name@3` or `name@alias`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[dict[str, Any]]:
        return list(pages(self._transport, "/v1/models"))

    def get(self, name: str) -> dict[str, Any]:
        """The versions and aliases of a model."""
        answer: dict[str, Any] = self._transport.json("GET", f"/v1/models/{name}")
        return answer

    def version(self, name: str, version: int) -> dict[str, Any]:
        """One version with its lineage: job, dataset, spec, metrics, sha256 of its weights."""
        answer: dict[str, Any] = self._transport.json("GET", f"/v1/models/{name}/versions/{version}")
        return answer

    def alias(self, name: str, alias: str, version: int, *, variant: str | None = None) -> dict[str, Any]:
        """Point an alias such as `champion` at a version, or at a variant of it."""
        body = {"version": version} | ({} if variant is None else {"variant": variant})
        answer: dict[str, Any] = self._transport.json("PUT", f"/v1/models/{name}/aliases/{alias}", json=body)
        return answer

    def make_variant(self, name: str, version: int, format: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Have another form of a version made; returns the job. `options`: `max_drop`, `precision` and the like."""
        body = {"format": format, **options}
        answer: dict[str, Any] = self._transport.json(
            "POST", f"/v1/models/{name}/versions/{version}/variants", json=body
        )
        return answer

    def variants(self, name: str, version: int) -> Sequence[dict[str, Any]]:
        """The other forms of a version, with what was measured of them."""
        answer: dict[str, Any] = self._transport.json("GET", f"/v1/models/{name}/versions/{version}/variants")
        items: Sequence[dict[str, Any]] = answer["items"]
        return items

    def predict(
        self,
        ref: str,
        pictures: Image | Sequence[Image],
        *,
        top_k: int | None = None,
        variant: str | None = None,
    ) -> Predictions:
        """Predict one picture or several; one bad picture among several costs only its own place.

        Args:
            ref: the model.
            pictures: files, or their bytes.
            top_k: how many classes to name for each picture.
            variant: in which form the model answers, such as `int8`; the alias's choice unless given.
        """
        body: dict[str, Any]
        if isinstance(pictures, str | bytes | os.PathLike):
            name, content = _read(pictures, 0)
            media_type = mimetypes.guess_type(name)[0] or "image/png"  # the server looks at the content anyway
            body = {"content": content, "headers": {"Content-Type": media_type}}
        else:
            body = {"files": [("images", _read(picture, n)) for n, picture in enumerate(pictures)]}
        wishes: dict[str, Any] = {"top_k": top_k, "variant": variant}
        params = {name: wish for name, wish in wishes.items() if wish is not None}
        answer: Predictions = self._transport.json(
            "POST", f"/v1/models/{ref}/predict", params=params, repeatable=True, **body
        )
        return answer

    def predict_instances(
        self, ref: str, instances: Sequence[Mapping[str, Any]], *, top_k: int | None = None
    ) -> Predictions:
        """Predict from JSON: `{"image": <base64 or bytes>}` or `{"values": […]}` each."""
        body: dict[str, Any] = {"instances": [_as_json(instance) for instance in instances]}
        if top_k is not None:
            body["top_k"] = top_k
        answer: Predictions = self._transport.json("POST", f"/v1/models/{ref}/predict", json=body, repeatable=True)
        return answer

    def predict_rows(self, ref: str, rows: Sequence[Mapping[str, Any]], *, top_k: int | None = None) -> Predictions:
        """Predict rows of a table: values by column; what is left out or None is missing."""
        body: dict[str, Any] = {"rows": [dict(row) for row in rows]} | ({} if top_k is None else {"top_k": top_k})
        answer: Predictions = self._transport.json("POST", f"/v1/models/{ref}/predict", json=body, repeatable=True)
        return answer

    def bundle(self, name: str, version: int, path: str | os.PathLike[str]) -> Path:
        """Download a version as a zip of `weights.safetensors` and `bundle.json`; returns its path."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            url = f"/v1/models/{name}/versions/{version}/bundle"
            with self._transport.stream("GET", url) as answer, part.open("wb") as file:
                file.writelines(answer.iter_bytes())
            part.replace(target)  # a reader never sees half a bundle
        finally:
            part.unlink(missing_ok=True)
        return target


def _read(image: Image, number: int) -> tuple[str, bytes]:
    if isinstance(image, bytes):
        return f"picture-{number}", image
    path = Path(image)
    return path.name, path.read_bytes()


def _as_json(instance: Mapping[str, Any]) -> dict[str, Any]:
    image = instance.get("image")
    if isinstance(image, bytes):
        return {**instance, "image": base64.b64encode(image).decode("ascii")}
    return dict(instance)
