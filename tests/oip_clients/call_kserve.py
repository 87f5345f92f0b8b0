"""Sends every kind of request with KServe's `InferenceRESTClient`, in a separate environment.

    python call_kserve.py http://127.0.0.1:8000 FOLDER

FOLDER has `images.npy`, uint8 (B, H, W, C), and `files.npy`, the same as PNG. It writes `results.json` there.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import InferResponse, RequestedOutput
from numpy.typing import NDArray

KEY = {"Authorization": "Bearer secret"}


class Calls:
    """One client, one server."""

    def __init__(
        self, url: str, client: InferenceRESTClient, images: NDArray[np.uint8], encoded: Sequence[bytes]
    ) -> None:
        self._url, self._client = url, client
        self._images, self._encoded = images, encoded

    async def health(self) -> dict[str, Any]:
        ready = self._client.is_model_ready
        return {
            "live": await self._client.is_server_live(self._url),
            "ready": await self._client.is_server_ready(self._url),
            "models": [await ready(self._url, name, KEY) for name in ("cats", "cats/versions/champion", "dogs")],
        }

    async def numbers(self, dtype: str, scale: float, *, binary: bool, binary_output: bool) -> Any:
        values = (self._images / scale).astype(dtype)
        names = {"uint8": "UINT8", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
        tensor = InferInput("image", list(values.shape), names[dtype])
        tensor.set_data_from_numpy(values, binary_data=binary)
        return read(await self._infer(tensor, {"binary_data_output": binary_output}))

    async def files(self, *, binary: bool) -> Any:
        elements = np.array([one if binary else base64.b64encode(one) for one in self._encoded], object)
        tensor = InferInput("image", [len(elements)], "BYTES")
        tensor.set_data_from_numpy(elements, binary_data=binary)
        return read(await self._infer(tensor, {}))

    async def nothing(self, *, binary: bool) -> Any:
        """Send an empty batch; the client sends a binary size of 0 and `"data": null`."""
        tensor = InferInput("image", list(self._images[:0].shape), "UINT8")
        tensor.set_data_from_numpy(self._images[:0], binary_data=binary)
        return read(await self._infer(tensor, {}))

    async def classes(self) -> Any:
        tensor = InferInput("image", list(self._images.shape), "UINT8")
        tensor.set_data_from_numpy(self._images)
        outputs = [RequestedOutput("probabilities", {"classification": 2}), RequestedOutput("logits")]
        request = InferRequest("cats", [tensor], request_id="42", request_outputs=outputs)
        return read(await self._client.infer(self._url, request, model_name="cats/versions/1", headers=KEY.copy()))

    async def dictionary(self) -> Any:
        """Send a dict, which the client does not change."""
        values = self._images[:1]
        requests = {
            "inputs": [{"name": "image", "shape": list(values.shape), "datatype": "UINT8", "data": values.tolist()}]
        }
        return read(await self._client.infer(self._url, requests, model_name="cats", headers=KEY.copy()))

    async def errors(self) -> dict[str, str]:
        small = self._images[:, 1:]
        tensor = InferInput("image", list(small.shape), "UINT8")
        tensor.set_data_from_numpy(small)
        request = InferRequest("cats", [tensor])
        requests = {"shape": ("cats", KEY), "model": ("dogs", KEY), "key": ("cats", {})}
        messages = {}
        for name, (model, headers) in requests.items():
            try:
                await self._client.infer(self._url, request, model_name=model, headers=dict(headers))
            except httpx.HTTPStatusError as error:
                messages[name] = str(error)
        return messages

    async def _infer(self, tensor: InferInput, parameters: dict[str, Any]) -> InferResponse:
        request = InferRequest("cats", [tensor], parameters=parameters)
        return await self._client.infer(self._url, request, model_name="cats", headers=KEY.copy())


def read(response: InferResponse) -> dict[str, Any]:
    """Return a response as the client parses it."""
    outputs = {one.name: one.as_numpy().tolist() for one in response.outputs}
    for name, values in outputs.items():
        outputs[name] = json.loads(json.dumps(values, default=lambda element: element.decode()))
    return {"id": response.id, "model": response.model_name, "version": response.model_version, "outputs": outputs}


async def run(url: str, folder: Path) -> dict[str, Any]:
    images = np.load(folder / "images.npy")
    encoded = list(np.load(folder / "files.npy", allow_pickle=True))
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
        calls = Calls(url, client, images, encoded)
        requests: dict[str, Callable[[], Any]] = {
            "health": calls.health,
            "classes": calls.classes,
            "dict": calls.dictionary,
            "errors": calls.errors,
        }
        for binary, form in ((True, "binary"), (False, "json")):
            requests[f"files {form}"] = partial(calls.files, binary=binary)
            requests[f"nothing {form}"] = partial(calls.nothing, binary=binary)
            for dtype, scale in (("uint8", 1), ("int64", 1), ("float16", 255), ("float32", 255), ("float64", 255)):
                if dtype == "float16" and not binary:
                    continue  # the client cannot encode it
                for back, form_back in ((True, "binary"), (False, "json")):
                    call = partial(calls.numbers, dtype, scale, binary=binary, binary_output=back)
                    requests[f"{dtype} {form} {form_back}"] = call
        return {name: await attempt(call) for name, call in requests.items()}


async def attempt(call: Callable[[], Any]) -> Any:
    """Return the result, or the error, so that one failure does not hide others."""
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - the test checks the error
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    (folder / "results.json").write_text(json.dumps(asyncio.run(run(sys.argv[1], folder))))
