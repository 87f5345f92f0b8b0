"""MLServer's side: a runtime for a torch network, pixels as a tensor or a picture in base64; MLServer batches."""

import base64

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput

from benchmarks.serving.peers.network import from_environment


class Images(MLModel):
    async def load(self) -> bool:
        self.network = from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        probabilities = self.network.probabilities(self._pixels(payload.inputs[0]))
        output = NumpyCodec.encode_output("probabilities", probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def _pixels(self, tensor: RequestInput) -> np.ndarray:
        if tensor.datatype != "BYTES":
            return NumpyCodec.decode_input(tensor)
        images = [base64.b64decode(picture) for picture in tensor.data]
        return np.stack([self.network.decoded(picture) for picture in images])
