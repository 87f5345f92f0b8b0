"""Waits and runs blocking functions for the asynchronous SDK, without blocking its event loop."""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

P = ParamSpec("P")
T = TypeVar("T")

sleep = anyio.sleep


async def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may block, for example because it reads a file, in a thread, and return its result."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
