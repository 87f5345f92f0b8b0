"""What holds an event loop up without anybody's doing: the garbage collector, other threads, and other processes."""

import gc
import os
import sys

SWITCH_INTERVAL_S = 0.001
GC_THRESHOLDS = 2000, 2, 105
"""Of the collector: short looks at what is young, and one at everything after 420,000 objects that stayed."""
PREDICT_NICENESS, TRAIN_NICENESS, IMPORT_NICENESS = 5, 7, 10
"""How nice those are who compute: event loops are not, which never take long and for which all wait."""


def freeze_gc() -> None:
    """Let it never again look at what there is now: modules, classes, routes; and seldom at what comes.

    Looking at all of it takes a tenth of a second, during which a process answers nobody. Where hundreds of requests
    wait, each look at what is young takes a microsecond an object, a few milliseconds with CPython's own thresholds,
    and a look at everything comes every two seconds; requests leave nothing that only the collector finds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def lower_switch_interval() -> None:
    """Have a thread that computes in Python give way within a millisecond, not five.

    Reading a row of the database is longer than that; whoever is answered meanwhile would wait for all of it.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def set_niceness(nice: int) -> None:
    """Have the calling thread, and those that it starts, give way to whoever is less nice (0 to 19) on this machine.

    Only on Linux, where threads have priorities of their own; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))  # less is not allowed
