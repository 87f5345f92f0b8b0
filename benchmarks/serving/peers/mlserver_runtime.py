"""The MLServer runtime. It accepts pixels as a tensor or an image in base64; MLServer forms the batches."""

import base64

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput

from benchmarks.serving.peers.network import load_from_environment


class Images(MLModel):
    async def load(self) -> bool:
        self.network = load_from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        probabilities = self.network.compute_probabilities(self._pixels(payload.inputs[0]))
        output = NumpyCodec.encode_output("probabilities", probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def _pixels(self, tensor: RequestInput) -> np.ndarray:
        if tensor.datatype != "BYTES":
            return NumpyCodec.decode_input(tensor)
        images = [base64.b64decode(image) for image in tensor.data]
        return np.stack([self.network.decode_image(image) for image in images])
