"""Limits the work of JSON bodies: counts their values before they are parsed, and parses large ones one at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from app.http.memory_release import release_memory_later
from core.errors import Overloaded, TooLarge
from core.process_tuning import pause_gc

Result = TypeVar("Result")

MAX_VALUES = 250_000
"""Maximum number of values and keys in a JSON body that no other limit applies to."""
MAX_DATA_VALUES = 2_000_000
"""Maximum number of values and keys in a dataset or a prediction request. Parsing them takes about 0.1 s."""
MAX_QUICK_BYTES = 256 * 2**10
MAX_QUICK_VALUES = 16_384
MAX_WAITING = 64
RETRY_AFTER_S = 1
_CHUNK_BYTES = 2**18
_COMMA, _COLON, _QUOTE, _BRACE = b',:"{'
_BRACKET_BIT = 0x20
"""`[` and `{` differ in this bit only."""


def check_num_values(body: bytes | memoryview, max_values: int, hint: str = "") -> None:
    """Check the number of values and keys of a JSON document without parsing it.

    Every value follows a comma, a colon or an opening bracket, so their number is an upper bound. Characters in strings
    are excluded only if the bound with them exceeds the limit, because that takes longer.

    Args:
        body: the JSON document, which may be invalid.
        max_values: the maximum number of values and keys.
        hint: what the client can send instead.

    Raises:
        TooLarge: the document has more values.
    """
    if len(body) < max_values or _count_separators(body) < max_values:
        return
    num_values = _count_separators(_blank_escapes(bytes(body)), skips_strings=True) + 1
    if num_values > max_values:
        raise TooLarge(
            f"The JSON has {num_values} values and keys; at most {max_values} are accepted here.{hint and ' '}{hint}",
            max_values=max_values,
            num_values=num_values,
        )


def is_quick_to_parse(text: bytes | memoryview) -> bool:
    """Return whether parsing this JSON takes about 1 ms at most, so that it can be parsed on the event loop."""
    if len(text) <= MAX_QUICK_VALUES:
        return True
    return len(text) <= MAX_QUICK_BYTES and _count_separators(text) <= MAX_QUICK_VALUES


def _count_separators(text: bytes | memoryview, *, skips_strings: bool = False) -> int:
    """Count commas, colons and opening brackets. Numpy does this in 0.3 ns per byte and without the GIL."""
    count, is_inside = 0, np.uint8(0)
    for start in range(0, len(text), _CHUNK_BYTES):
        chunk = np.frombuffer(text, np.uint8, min(_CHUNK_BYTES, len(text) - start), start)
        separators = (chunk == _COMMA) | (chunk == _COLON) | ((chunk | _BRACKET_BIT) == _BRACE)
        if skips_strings:
            # The parity of the number of preceding quotes: 1 inside a string.
            parity = (np.cumsum(chunk == _QUOTE, dtype=np.uint8) + is_inside) & np.uint8(1)
            separators &= parity == 0
            is_inside = parity[-1]
        count += int(np.count_nonzero(separators))
    return count


def _blank_escapes(text: bytes) -> bytes:
    """Replace escaped backslashes and quotes, so that every remaining quote opens or closes a string."""
    return text.replace(rb"\\", b"__").replace(rb"\"", b"__") if b"\\" in text else text


class LargeBodyParser:
    """Parses large bodies one at a time in a separate thread, so that they block neither the loop nor other threads.

    A JSON parser holds the GIL while it runs. One at a time, each of them delays other requests by its own duration
    only; in a shared pool, a few clients could occupy all threads.
    """

    def __init__(self, name: str, on_idle: Callable[[], object] = lambda: None) -> None:
        """Initialize the parser. `on_idle` is called when the last of the waiting bodies is parsed."""
        self._on_idle = on_idle
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"parse-{name}")
        self._num_waiting = 0

    async def run(self, parse: Callable[[], Result]) -> Result:
        """Return the result of `parse`, which runs after those of earlier calls.

        Raises:
            Overloaded: too many bodies wait to be parsed.
        """
        if self._num_waiting >= MAX_WAITING:
            raise Overloaded(
                "Too many large bodies wait to be parsed.", waiting=self._num_waiting, retry_after_s=RETRY_AFTER_S
            )
        self._num_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _run_without_gc, parse)
        finally:
            self._num_waiting -= 1
            if not self._num_waiting:
                self._on_idle()


def _run_without_gc(parse: Callable[[], Result]) -> Result:
    with pause_gc():
        return parse()


PREDICTIONS = LargeBodyParser("predictions")
"""Parses the bodies of predictions, also those of `/v2`."""
DOCUMENTS = LargeBodyParser("documents", on_idle=release_memory_later)
"""Parses all other JSON bodies. Inline datasets take longer than predictions, so they have another thread.

A document can need sixty times the memory of its JSON, which glibc would keep.
"""
