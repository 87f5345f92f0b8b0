"""Waits and runs blocking functions for the synchronous SDK. `candela.aio.concurrency` is its asynchronous twin."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

sleep = time.sleep


def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may block, for example because it reads a file, and return its result."""
    return function(*args, **kwargs)
