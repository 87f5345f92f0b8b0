"""Removes bytes from a failing input while it still fails."""

from collections.abc import Callable


def minimize(body: bytes, fails: Callable[[bytes], bool], is_over: Callable[[], bool] = lambda: False) -> bytes:
    """Return a smaller input for which `fails` returns True. No single block of the last size can be removed from it.

    Args:
        body: an input that fails.
        fails: runs a candidate.
        is_over: ends the search if it returns True.

    Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002 (without complements).
    """
    size = max(1, len(body) // 2)
    while not is_over():
        at = 0
        while at < len(body) and not is_over():
            candidate = body[:at] + body[at + size :]
            if fails(candidate):
                body = candidate
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return body
