"""Sends requests with MLServer's codecs and its batch client, in a separate environment.

    python call_mlserver.py http://127.0.0.1:8000 FOLDER

FOLDER has `images.npy`, uint8 (B, H, W, C), `files.npy`, the same as PNG, and `rows.json`, rows of a table. It writes
`results.json` there.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests
from mlserver.codecs import Base64Codec, NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    Parameters,
    RepositoryIndexResponse,
    RequestInput,
    RequestOutput,
)

NUMBERS = {"uint8": 1, "int64": 1, "float32": 255, "float64": 255, "bool": 1}
KEY = {"Authorization": "Bearer secret"}


class Calls:
    """One client, one server."""

    def __init__(self, url: str, http: requests.Session, folder: Path) -> None:
        self._url, self._http, self._folder = url, http, folder
        self._images = np.load(folder / "images.npy")
        self._encoded = list(np.load(folder / "files.npy", allow_pickle=True))
        self._rows = json.loads((folder / "rows.json").read_text())

    def numpy(self, dtype: str) -> Any:
        values = self._images > 127 if dtype == "bool" else (self._images / NUMBERS[dtype]).astype(dtype)
        return self._infer("cats", [NumpyCodec.encode_input("image", values)])

    def numpy_request(self) -> Any:
        """Encode a whole request; the codec names its input `input-0`."""
        request = NumpyRequestCodec.encode_request(self._images)
        return self._send("cats", request)

    def base64(self, *, use_bytes: bool) -> Any:
        return self._infer("cats", [Base64Codec.encode_input("image", self._encoded, use_bytes=use_bytes)])

    def parameters(self) -> Any:
        """Send an id, named outputs, and headers as parameters, as MLServer's clients do."""
        request = InferenceRequest(
            id="42",
            parameters=Parameters(content_type="np", headers={"x": "y"}),
            inputs=[NumpyCodec.encode_input("image", self._images)],
            outputs=[RequestOutput(name="probabilities", parameters=Parameters(content_type="np"))],
        )
        return self._send("cats", request)

    def every_field(self) -> Any:
        """Send every field, with null for those that are not set."""
        request = InferenceRequest(inputs=[NumpyCodec.encode_input("image", self._images)])
        text = request.model_dump_json(exclude_unset=False, exclude_none=False)
        return self._send_text("cats", text)

    def strings(self) -> Any:
        """Decode classes with the codec of strings."""
        request = InferenceRequest(
            inputs=[NumpyCodec.encode_input("image", self._images)],
            outputs=[RequestOutput(name="probabilities", parameters=Parameters(classification=2))],
        )
        response = self._post("cats", request.model_dump_json())
        return StringCodec.decode_output(response.outputs[0])

    def table(self) -> Any:
        """Send a data frame: one input per column, text as strings, missing values as null."""
        return self._send("penguins", PandasCodec.encode_request(self._frame(), use_bytes=False))

    def frame(self) -> Any:
        """Decode a response as a data frame with one column per output."""
        response = self._post("weight", PandasCodec.encode_request(self._frame()).model_dump_json())
        return PandasCodec.decode_response(response).to_dict("list")

    def rows(self) -> Any:
        """Send the same rows as numbers; the codec writes null for missing values."""
        values = np.array([[39.1, 3750.0, 2.0], [40.0, float("nan"), 1.0]], np.float32)
        return self._infer("penguins", [NumpyCodec.encode_input("rows", values)])

    def metadata(self) -> Any:
        """Parse metadata and the index with MLServer's types."""
        server = MetadataServerResponse.model_validate(self._http.get(f"{self._url}/v2").json())
        model = MetadataModelResponse.model_validate(self._http.get(f"{self._url}/v2/models/cats").json())
        index = RepositoryIndexResponse.model_validate(
            self._http.post(f"{self._url}/v2/repository/index", json={}).json()
        )
        return [server.name, [one.name for one in model.inputs], sorted({one.name for one in index.root})]

    def batch_client(self, *options: str) -> Any:
        """Run `mlserver infer`, which sends a file of requests with several workers."""
        request_file, response_file = self._folder / "requests.jsonl", self._folder / "responses.jsonl"
        requests = [
            InferenceRequest(id=str(number), inputs=[NumpyCodec.encode_input("image", self._images[number][None])])
            for number in range(len(self._images))
        ]
        request_file.write_text("".join(f"{request.model_dump_json()}\n" for request in requests))
        command = [str(Path(sys.executable).parent / "mlserver"), "infer", "-u", self._url.removeprefix("http://")]
        command += [
            "-m",
            "cats",
            "-i",
            str(request_file),
            "-o",
            str(response_file),
            "-H",
            "Authorization: Bearer secret",
        ]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=60)
        lines = [json.loads(line) for line in response_file.read_text().splitlines()]
        return sorted(lines, key=lambda line: line["parameters"]["batch_index"])

    def _frame(self) -> pd.DataFrame:
        """Return the rows; the codec does not support the default text type of pandas."""
        return pd.DataFrame(self._rows).astype({"island": object})

    def _infer(self, model: str, inputs: list[RequestInput]) -> Any:
        return self._send(model, InferenceRequest(inputs=inputs))

    def _send(self, model: str, request: InferenceRequest) -> Any:
        return self._send_text(model, request.model_dump_json())

    def _send_text(self, model: str, text: str) -> Any:
        response = self._post(model, text)
        return {
            "id": response.id,
            "version": response.model_version,
            "outputs": {one.name: NumpyCodec.decode_output(one).tolist() for one in response.outputs},
        }

    def _post(self, model: str, text: str) -> InferenceResponse:
        response = self._http.post(f"{self._url}/v2/models/{model}/infer", data=text, timeout=30)
        if response.status_code != 200:
            raise RuntimeError(response.text)
        return InferenceResponse.model_validate_json(response.text)


def attempt(call: Callable[[], Any]) -> Any:
    """Return the result, or the error, so that one failure does not hide others."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the test checks the error
        return {"error": f"{type(error).__name__}: {error}"}


def run(url: str, folder: Path) -> dict[str, Any]:
    with requests.Session() as http:
        http.headers.update({"Content-Type": "application/json", **KEY})
        calls = Calls(url, http, folder)
        results = {dtype: attempt(partial(calls.numpy, dtype)) for dtype in NUMBERS}
        names = ("numpy_request", "parameters", "every_field", "strings", "table", "frame", "rows", "metadata")
        results |= {name: attempt(getattr(calls, name)) for name in names}
        results["base64"] = attempt(lambda: calls.base64(use_bytes=False))
        results["base64 as bytes"] = attempt(lambda: calls.base64(use_bytes=True))
        results["batch client"] = attempt(calls.batch_client)
        results["batch client, merged"] = attempt(lambda: calls.batch_client("-s", "2"))
        results["batch client, binary"] = attempt(lambda: calls.batch_client("-b"))
        return results


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    (folder / "results.json").write_text(json.dumps(run(sys.argv[1], folder)))
