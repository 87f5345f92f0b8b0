"""Runs the proof: `python -m benchmarks.gpu_proof`."""

import sys

from benchmarks.gpu_proof.proof import main

if __name__ == "__main__":
    sys.exit(main())
