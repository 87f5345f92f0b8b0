"""Fuzz targets that fail in known ways, to test the harness."""

import itertools
import os
import signal
import time

from tests.fuzz.target import FuzzTarget

CRASH, DEATH, MEMORY, LOOP, NATIVE_LOOP, WAIT = b"crash!", b"death!", b"memory!", b"loop!", b"native!", b"wait!"


def run_faulty(body: bytes) -> None:
    """Fail if the input contains the name of a failure."""
    if CRASH in body:
        raise KeyError("a bug")
    if DEATH in body:
        os.kill(os.getpid(), signal.SIGSEGV)
    if MEMORY in body:
        bytearray(2**40)
    if LOOP in body:
        while True:
            pass
    if NATIVE_LOOP in body:
        sum(itertools.repeat(1))
    if WAIT in body:
        time.sleep(3600)


TARGETS = {
    "correct": FuzzTarget(run_faulty, lambda: [b"a", b"bc"], lambda body, rng: b"d"),
    "crash": FuzzTarget(run_faulty, lambda: [b"aaaaaaaa" + CRASH + b"aa"], lambda body, rng: b"d"),
    "loop": FuzzTarget(run_faulty, lambda: [b"a", LOOP, b"b"], lambda body, rng: b"d"),
}
