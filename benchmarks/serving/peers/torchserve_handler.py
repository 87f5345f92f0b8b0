"""TorchServe's side: a handler that is given batches of forms and answers each."""

from typing import Any

from benchmarks.serving.peers.network import from_environment


class Images:
    def __init__(self) -> None:
        self.initialized = False

    def initialize(self, context: object) -> None:
        self.network = from_environment()
        self.initialized = True

    def handle(self, requests: list[dict[str, Any]], context: object) -> list[dict[str, Any]]:
        pictures = [self.network.decoded(bytes(request["images"])) for request in requests]
        return [self.network.top(row) for row in self.network.probabilities(pictures)]
