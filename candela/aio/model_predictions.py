"""Computes predictions, embeddings and explanations with models."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from candela.aio.concurrency import run_blocking
from candela.aio.file_upload import post_file
from candela.aio.jobs import AsyncJob
from candela.aio.transport import AsyncTransport
from candela.instances import (
    Body,
    build_image_body,
    build_images_body,
    build_instances_body,
    build_rows_body,
    set_timeout,
)
from candela.result_types import Embeddings, Explanation
from candela.synonyms import SuggestsNames
from candela.types import Image, Predictions, ProgressCallback


class AsyncModelPredictions(SuggestsNames):
    """The methods of `client.models` that use the networks.

    A `ref` is `name` (the default version), `name@3` or `name@alias`. With `timeout_s`, the server ends the request
    after this time with the status 504.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def predict(
        self,
        ref: str,
        images: Image | Sequence[Image],
        *,
        top_k: int | None = None,
        variant: str | None = None,
        test_time_augmentation: str | None = None,
        timeout_s: float | None = None,
    ) -> Predictions:
        """Predict one or more images. If there are several images, the prediction of an invalid image is an error.

        Args:
            ref: the model and version, such as `name@3`.
            images: paths or contents of image files.
            top_k: maximum number of classes per image; default: the server's default.
            variant: format of a variant, such as `int8`; default: the variant that the alias selects.
            test_time_augmentation: `mirror` or `mirror_and_shift` averages the scores of several views of each image;
                default: the image only.
            timeout_s: maximum seconds of the request on the server.
        """
        body = await run_blocking(build_images_body, images)
        params = {"top_k": top_k, "variant": variant, "test_time_augmentation": test_time_augmentation}
        return await self._predict(ref, body, params, timeout_s)

    async def predict_instances(
        self,
        ref: str,
        instances: Sequence[Mapping[str, Any]],
        *,
        top_k: int | None = None,
        variant: str | None = None,
        test_time_augmentation: str | None = None,
        timeout_s: float | None = None,
    ) -> Predictions:
        """Predict instances. Each instance is `{"image": <base64 or bytes>}` or `{"values": […]}`."""
        params = {"variant": variant, "test_time_augmentation": test_time_augmentation}
        return await self._predict(ref, build_instances_body(instances, top_k), params, timeout_s)

    async def predict_rows(
        self,
        ref: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        top_k: int | None = None,
        variant: str | None = None,
        timeout_s: float | None = None,
    ) -> Predictions:
        """Predict table rows. A row maps column names to values; omitted columns and None are missing values."""
        return await self._predict(ref, build_rows_body(rows, top_k), {"variant": variant}, timeout_s)

    async def predict_archive(
        self,
        ref: str,
        path: str | os.PathLike[str],
        *,
        top_k: int | None = None,
        batch_size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> AsyncJob:
        """Upload a zip, tar or tar.gz of images, and submit a job that predicts them. Return the job.

        When the job has succeeded, `job.download_file("predictions.csv", folder)` downloads the predictions.

        Args:
            ref: the model and version, such as `name@3`.
            path: the archive.
            top_k: number of classes per image; default: the server's default.
            batch_size: number of images per batch; default: the server's default.
            progress: function that is called with the number of sent bytes and the total number of bytes.
        """
        params = {"top_k": top_k, "batch_size": batch_size}
        url = f"/v1/models/{ref}/predictions"
        response = await post_file(self._transport, url, Path(path), params, progress or (lambda _sent, _size: None))
        return AsyncJob(self._transport, response)

    async def embed(self, ref: str, images: Image | Sequence[Image], *, timeout_s: float | None = None) -> Embeddings:
        """Return the embeddings of images: the input vectors of the last layer of the network."""
        body = set_timeout(await run_blocking(build_images_body, images), timeout_s)
        response: Embeddings = await self._transport.request_json(
            "POST", f"/v1/models/{ref}/embed", repeatable=True, **body
        )
        return response

    async def explain(
        self, ref: str, image: Image, *, label: str | None = None, timeout_s: float | None = None
    ) -> Explanation:
        """Return which regions of an image support a class, as numbers (Grad-CAM).

        Args:
            ref: the model and version, such as `name@3`.
            image: path or content of an image file.
            label: the class; default: the most probable class.
            timeout_s: maximum seconds of the request on the server.
        """
        response = await self._explain(ref, image, label, timeout_s, "application/json")
        explanation: Explanation = response.json()
        return explanation

    async def draw_explanation(
        self, ref: str, image: Image, *, label: str | None = None, timeout_s: float | None = None
    ) -> bytes:
        """Return a PNG file of the image with a heatmap. The arguments are those of `explain`."""
        return (await self._explain(ref, image, label, timeout_s, "image/png")).content

    async def _predict(self, ref: str, body: Body, params: Mapping[str, Any], timeout_s: float | None) -> Predictions:
        response: Predictions = await self._transport.request_json(
            "POST", f"/v1/models/{ref}/predict", params=params, repeatable=True, **set_timeout(body, timeout_s)
        )
        return response

    async def _explain(
        self, ref: str, image: Image, label: str | None, timeout_s: float | None, media_type: str
    ) -> httpx.Response:
        body = set_timeout(await run_blocking(build_image_body, image), timeout_s)
        body["headers"] = {**body["headers"], "Accept": media_type}
        url = f"/v1/models/{ref}/explain"
        return await self._transport.request("POST", url, params={"label": label}, repeatable=True, **body)
