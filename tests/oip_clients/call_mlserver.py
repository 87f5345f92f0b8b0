"""MLServer's codecs on both sides of an inference, and its batch client, in their own environment: it knows no test.

    python call_mlserver.py http://127.0.0.1:8000 FOLDER

FOLDER has `pictures.npy`, uint8 (B, H, W, C), `files.npy`, the same as PNG, and `rows.json`, rows of a table;
`answers.json` is written there.
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
        self._images = np.load(folder / "pictures.npy")
        self._encoded = list(np.load(folder / "files.npy", allow_pickle=True))
        self._rows = json.loads((folder / "rows.json").read_text())

    def numpy(self, dtype: str) -> Any:
        values = self._images > 127 if dtype == "bool" else (self._images / NUMBERS[dtype]).astype(dtype)
        return self._ask("cats", [NumpyCodec.encode_input("image", values)])

    def numpy_request(self) -> Any:
        """The codec of a whole request names its input itself: `input-0`."""
        request = NumpyRequestCodec.encode_request(self._images)
        return self._send("cats", request)

    def base64(self, *, use_bytes: bool) -> Any:
        return self._ask("cats", [Base64Codec.encode_input("image", self._encoded, use_bytes=use_bytes)])

    def parameters(self) -> Any:
        """An id, outputs by name, headers as parameters, as MLServer's own clients have them."""
        request = InferenceRequest(
            id="42",
            parameters=Parameters(content_type="np", headers={"x": "y"}),
            inputs=[NumpyCodec.encode_input("image", self._images)],
            outputs=[RequestOutput(name="probabilities", parameters=Parameters(content_type="np"))],
        )
        return self._send("cats", request)

    def every_field(self) -> Any:
        """As pydantic writes it where nothing is left out: nulls for all that is not there."""
        request = InferenceRequest(inputs=[NumpyCodec.encode_input("image", self._images)])
        text = request.model_dump_json(exclude_unset=False, exclude_none=False)
        return self._sent("cats", text)

    def strings(self) -> Any:
        """The classes as strings, by the codec of strings."""
        request = InferenceRequest(
            inputs=[NumpyCodec.encode_input("image", self._images)],
            outputs=[RequestOutput(name="probabilities", parameters=Parameters(classification=2))],
        )
        answer = self._post("cats", request.model_dump_json())
        return StringCodec.decode_output(answer.outputs[0])

    def table(self) -> Any:
        """A data frame: an input a column, words as strings, what is missing as null."""
        return self._send("penguins", PandasCodec.encode_request(self._frame(), use_bytes=False))

    def frame(self) -> Any:
        """The answer as a data frame, where every output is one column."""
        answer = self._post("weight", PandasCodec.encode_request(self._frame()).model_dump_json())
        return PandasCodec.decode_response(answer).to_dict("list")

    def rows(self) -> Any:
        """The same rows as numbers; the codec writes null for what is missing."""
        values = np.array([[39.1, 3750.0, 2.0], [40.0, float("nan"), 1.0]], np.float32)
        return self._ask("penguins", [NumpyCodec.encode_input("rows", values)])

    def described(self) -> Any:
        """Metadata and index, read by MLServer's own types."""
        server = MetadataServerResponse.model_validate(self._http.get(f"{self._url}/v2").json())
        model = MetadataModelResponse.model_validate(self._http.get(f"{self._url}/v2/models/cats").json())
        index = RepositoryIndexResponse.model_validate(
            self._http.post(f"{self._url}/v2/repository/index", json={}).json()
        )
        return [server.name, [one.name for one in model.inputs], sorted({one.name for one in index.root})]

    def batch_client(self, *options: str) -> Any:
        """`mlserver infer`: a file of requests, sent by several workers, some of them merged into one."""
        asked, answered = self._folder / "asked.jsonl", self._folder / "answered.jsonl"
        requests = [
            InferenceRequest(id=str(number), inputs=[NumpyCodec.encode_input("image", self._images[number][None])])
            for number in range(len(self._images))
        ]
        asked.write_text("".join(f"{request.model_dump_json()}\n" for request in requests))
        command = [str(Path(sys.executable).parent / "mlserver"), "infer", "-u", self._url.removeprefix("http://")]
        command += ["-m", "cats", "-i", str(asked), "-o", str(answered), "-H", "Authorization: Bearer secret"]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=60)
        lines = [json.loads(line) for line in answered.read_text().splitlines()]
        return sorted(lines, key=lambda line: line["parameters"]["batch_index"])

    def _frame(self) -> pd.DataFrame:
        """The rows; the codec does not know the type that pandas gives to words by itself."""
        return pd.DataFrame(self._rows).astype({"island": object})

    def _ask(self, model: str, inputs: list[RequestInput]) -> Any:
        return self._send(model, InferenceRequest(inputs=inputs))

    def _send(self, model: str, request: InferenceRequest) -> Any:
        return self._sent(model, request.model_dump_json())

    def _sent(self, model: str, text: str) -> Any:
        answer = self._post(model, text)
        return {
            "id": answer.id,
            "version": answer.model_version,
            "outputs": {one.name: NumpyCodec.decode_output(one).tolist() for one in answer.outputs},
        }

    def _post(self, model: str, text: str) -> InferenceResponse:
        answer = self._http.post(f"{self._url}/v2/models/{model}/infer", data=text, timeout=30)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        return InferenceResponse.model_validate_json(answer.text)


def attempt(call: Callable[[], Any]) -> Any:
    """An answer, or the error's words: one that fails hides no other."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - it is what the caller wants to know
        return {"error": f"{type(error).__name__}: {error}"}


def run(url: str, folder: Path) -> dict[str, Any]:
    with requests.Session() as http:
        http.headers.update({"Content-Type": "application/json", **KEY})
        calls = Calls(url, http, folder)
        answers = {dtype: attempt(partial(calls.numpy, dtype)) for dtype in NUMBERS}
        names = ("numpy_request", "parameters", "every_field", "strings", "table", "frame", "rows", "described")
        answers |= {name: attempt(getattr(calls, name)) for name in names}
        answers["base64"] = attempt(lambda: calls.base64(use_bytes=False))
        answers["base64 as bytes"] = attempt(lambda: calls.base64(use_bytes=True))
        answers["batch client"] = attempt(calls.batch_client)
        answers["batch client, merged"] = attempt(lambda: calls.batch_client("-s", "2"))
        answers["batch client, binary"] = attempt(lambda: calls.batch_client("-b"))
        return answers


if __name__ == "__main__":
    place = Path(sys.argv[2])
    (place / "answers.json").write_text(json.dumps(run(sys.argv[1], place)))
