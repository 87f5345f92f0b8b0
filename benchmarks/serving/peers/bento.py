"""The BentoML service, with one method that receives batches of images."""

import os
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.serving.peers.network import load_from_environment


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024}, logging={"access": {"enabled": False}})
class Images:
    def __init__(self) -> None:
        self.network = load_from_environment()

    @bentoml.api(
        batchable=True,
        max_batch_size=int(os.environ["BENCH_MAX_BATCH_SIZE"]),
        max_latency_ms=int(1000 * float(os.environ["BENCH_BATCH_TIMEOUT_S"])),
    )
    def predict(self, images: list[Path]) -> list[dict[str, Any]]:
        arrays = [self.network.decode_image(path.read_bytes()) for path in images]
        return [self.network.format_top_classes(row) for row in self.network.compute_probabilities(arrays)]
