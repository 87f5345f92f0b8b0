"""The bare forward of a network in batches of 32: what any server of it is measured against.

It waits for a number of seconds on a line of its input, computes for so long, and answers with images a second.
The batch is prepared once: no decoding, no normalising, no answer.
"""

import sys
import time

import numpy as np
import torch

from benchmarks.serving.peers.network import from_environment

BATCH = 32


def main() -> None:
    network = from_environment()
    batch = network.prepared([np.full(network.picture_shape, 100, np.uint8)] * BATCH)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, count, began = float(line), 0, time.perf_counter()
        with torch.inference_mode():
            while time.perf_counter() - began < seconds:
                network.network(batch)
                count += BATCH
        print(count / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
