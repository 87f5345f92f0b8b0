"""Entry point of `python -m worker.trainer`."""

import os
import sys

from worker.trainer.main import main

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a normal exit unloads torch, which is slow; all files are already closed
