"""Settings of a process that reduce delays of its event loop: garbage collector, thread switching and niceness."""

import gc
import os
import sys

SWITCH_INTERVAL_S = 0.001
GC_THRESHOLDS = 2000, 2, 105
"""Thresholds of the garbage collector: short collections of young objects; a full one after 420,000 survivors."""
PREDICT_NICENESS, TRAIN_NICENESS, IMPORT_NICENESS = 5, 7, 10
"""Niceness of threads and processes that compute. Event loops keep niceness 0."""


def freeze_gc() -> None:
    """Exclude all current objects from garbage collection and make collections less frequent.

    A full collection of modules, classes and routes takes about 0.1 s, and the process cannot respond meanwhile.
    With hundreds of pending requests and CPython's default thresholds, a young collection takes a few milliseconds
    and a full one runs every two seconds. Requests create no reference cycles, so rare collections are sufficient.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def lower_switch_interval() -> None:
    """Reduce the interval after which a Python thread releases the GIL from 5 ms to 1 ms.

    The event loop then waits less for threads that run Python code, such as database reads.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def set_niceness(nice: int) -> None:
    """Set the niceness (0 to 19) of the calling thread and of the threads it starts.

    It has an effect on Linux only, where each thread has its own priority.
    """
    if sys.platform == "linux":
        os.setpriority(
            os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0))
        )  # lowering it requires privileges
