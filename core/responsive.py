"""What holds an event loop up without anybody's doing: the garbage collector, and threads that hold the interpreter."""

import gc
import sys

GIVE_WAY_S = 0.001


def spare_what_stays() -> None:
    """Let it never again look at what there is now: modules, classes, routes.

    Looking at all of it takes a tenth of a second, during which a process answers nobody.
    """
    gc.collect()
    gc.freeze()


def let_threads_give_way() -> None:
    """Have a thread that computes in Python give way within a millisecond, not five.

    Reading a row of the database is longer than that; whoever is answered meanwhile would wait for all of it.
    """
    sys.setswitchinterval(GIVE_WAY_S)
