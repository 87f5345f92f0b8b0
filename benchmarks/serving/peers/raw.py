"""Measures the raw forward pass in batches of 32, the upper bound for every server.

It reads a number of seconds from a line of its input, computes for that time, and prints images per second. The batch
is prepared once, without decoding, normalization or responses.
"""

import sys
import time

import numpy as np
import torch

from benchmarks.serving.peers.network import load_from_environment

BATCH = 32


def main() -> None:
    network = load_from_environment()
    batch = network.prepare_images([np.full(network.pixel_shape, 100, np.uint8)] * BATCH)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, count, started_at = float(line), 0, time.perf_counter()
        with torch.inference_mode():
            while time.perf_counter() - started_at < seconds:
                network.network(batch)
                count += BATCH
        print(count / (time.perf_counter() - started_at), flush=True)


if __name__ == "__main__":
    main()
