"""Configures the garbage collector, thread switching and niceness, so that event loops respond with less delay."""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_INTERVAL_S = 0.001
GC_THRESHOLDS = 2000, 2, 105
"""Thresholds for `gc.set_threshold`: frequent, short collections of young objects and rare full collections."""
PREDICT_NICENESS, TRAIN_NICENESS, IMPORT_NICENESS = 5, 7, 10
"""Niceness of threads and processes for predictions, training and imports. Event loops keep niceness 0."""

_PAUSE_LOCK = threading.Lock()
_num_pauses = 0


def freeze_gc() -> None:
    """Exclude all current objects from garbage collection and make collections less frequent.

    If objects are not frozen, a full collection scans all modules, classes and routes. The scan takes about 0.1 s, and
    the process cannot respond meanwhile. With hundreds of pending requests and CPython's default thresholds, a
    collection of young objects takes a few milliseconds, and a full collection runs every two seconds. Requests create
    no reference cycles, so less frequent collections are sufficient.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@contextmanager
def pause_gc() -> Iterator[None]:
    """Disable garbage collection in the `with` block, unless another thread needs it disabled for longer.

    A parser that creates a million objects triggers collections of all of them, which take three times as long as the
    parsing. Parsed documents contain no reference cycles.
    """
    global _num_pauses
    with _PAUSE_LOCK:
        _num_pauses += 1
        gc.disable()
    try:
        yield
    finally:
        with _PAUSE_LOCK:
            _num_pauses -= 1
            if not _num_pauses:
                gc.enable()


def lower_switch_interval() -> None:
    """Reduce the interval after which a running thread releases the GIL from 5 ms to 1 ms.

    This reduces the time that the event loop waits for threads that run Python code, such as threads that read the
    database.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def set_niceness(nice: int) -> None:
    """Set the niceness (0 to 19) of the calling thread and of the threads it starts.

    On systems other than Linux this function has no effect, because niceness cannot be set per thread.
    """
    if sys.platform == "linux":
        os.setpriority(
            os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0))
        )  # keep a higher current niceness: lowering it requires privileges
