"""Runs the Celery worker as `python -m worker`, with the options of `celery worker`.

`celery -A worker.main` searches the current folder first, where a file `core.py` would be imported instead of `core`.
"""

import sys

from celery.bin.celery import celery

from worker.main import app


def main() -> None:
    celery.params[0].default = app  # as in `Celery.start`, which loses the exit status
    celery.main(args=["worker", *sys.argv[1:]], prog_name="worker")


if __name__ == "__main__":
    main()
