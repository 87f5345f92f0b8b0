"""The TorchServe handler. It receives batches of forms."""

from typing import Any

from benchmarks.serving.peers.network import load_from_environment


class Images:
    def __init__(self) -> None:
        self.initialized = False

    def initialize(self, context: object) -> None:
        self.network = load_from_environment()
        self.initialized = True

    def handle(self, requests: list[dict[str, Any]], context: object) -> list[dict[str, Any]]:
        arrays = [self.network.decode_image(bytes(request["images"])) for request in requests]
        return [self.network.format_top_classes(row) for row in self.network.compute_probabilities(arrays)]
