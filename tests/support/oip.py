"""Registered models without a training job, a server on a real socket, and both clients of Triton."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
import tritonclient.http
import tritonclient.http.aio
from numpy.typing import NDArray
from starlette.types import ASGIApp
from torch import nn

from core.db.session import SessionFactory
from core.storage import Storage
from models import bundle
from models.preprocess import Preprocess
from tests.support import bundles
from tests.support.http_server import run_server

SIZES = (3, 8, 6)
CLASSES = ["cat", "dog: small", "owl"]
COLOURED: dict[str, Any] = {
    "image_shape": SIZES,
    "classes": CLASSES,
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.3, 0.4],
}


class RegisteredModel:
    """A registered model version, and its expected outputs computed without the service."""

    def __init__(self, network: nn.Module, description: bundle.BundleDescription) -> None:
        self._network = network.eval()
        self._preprocess = Preprocess(description.mean, description.std)

    def scores(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of images, uint8 (B, H, W, C)."""
        with torch.inference_mode():
            values: NDArray[np.float32] = self._network(self._preprocess(torch.from_numpy(images))).numpy()
        return values

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the class probabilities of images, uint8 (B, H, W, C)."""
        values: NDArray[np.float32] = torch.from_numpy(self.scores(images)).softmax(1).numpy()
        return values


def register(sessions: SessionFactory, storage: Storage, name: str, version: int, **changes: Any) -> RegisteredModel:
    """Register a version with random weights, which depend on the version number."""
    options = COLOURED | changes
    bundles.register_model(sessions, storage, name, version, seed=version, **options)
    description = bundles.build_description(**options)
    return RegisteredModel(bundles.build_network(description, version), description)


@contextmanager
def serve_app(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a free port and return `127.0.0.1:port`."""
    with run_server(app) as server:
        yield f"127.0.0.1:{server.port}"


class AsyncTritonClient:
    """The asyncio client with blocking methods."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(_open(url))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def infer_concurrently(self, number: int, *arguments: Any, **options: Any) -> list[Any]:
        """Run the same inference several times concurrently."""

        async def run() -> list[Any]:
            return await asyncio.gather(*[self._client.infer(*arguments, **options) for _ in range(number)])

        return self._runner.run(run())

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


class SyncTritonClient(tritonclient.http.InferenceServerClient):  # type: ignore[misc]  # it has no types
    """The gevent client."""

    def infer_concurrently(self, number: int, *arguments: Any, **options: Any) -> list[Any]:
        """Run the same inference several times concurrently."""
        requests = [self.async_infer(*arguments, **options) for _ in range(number)]
        return [request.get_result() for request in requests]


async def _open(url: str) -> Any:
    return tritonclient.http.aio.InferenceServerClient(url)


@contextmanager
def open_triton_client(kind: str, url: str) -> Iterator[Any]:
    """Open a client of either kind; both have the same methods here."""
    client = SyncTritonClient(url, concurrency=64) if kind == "sync" else AsyncTritonClient(url)
    try:
        yield client
    finally:
        with suppress(OSError):
            client.close()
