"""Runs `python -m worker.trainer`."""

import os
import sys

from worker.trainer.main import main

if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # everything is closed, and unloading torch at exit is slow
