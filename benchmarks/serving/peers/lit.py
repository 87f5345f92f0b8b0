"""The LitServe server. Its settings come from the benchmark's environment variables."""

import os
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from benchmarks.serving.peers.network import load_from_environment


class Images(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = load_from_environment()

    def decode_request(self, request: Request) -> np.ndarray:  # LitServe parses a form because of this annotation
        return self.network.decode_image(request["images"].file.read())

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.network.compute_probabilities(x if x.ndim == 4 else x[np.newaxis])

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return self.network.format_top_classes(output.reshape(-1))


def main() -> None:
    environ = os.environ
    api = Images(
        max_batch_size=int(environ["BENCH_MAX_BATCH_SIZE"]), batch_timeout=float(environ["BENCH_BATCH_TIMEOUT_S"])
    )
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=int(environ["BENCH_WORKERS"]),
        fast_queue=environ["BENCH_FAST_QUEUE"] == "1",
        timeout=60,
    )
    server.run(
        host="127.0.0.1",
        port=int(environ["BENCH_PORT"]),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
