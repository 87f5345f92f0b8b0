"""What the garbage collector need not look at."""

import gc


def spare_what_stays() -> None:
    """Let it never again look at what there is now: modules, classes, routes.

    Looking at all of it takes a tenth of a second, during which a process answers nobody.
    """
    gc.collect()
    gc.freeze()
