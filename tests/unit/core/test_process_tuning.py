"""Garbage collection, switch interval and niceness of a process."""

import gc
import os
import subprocess
import sys
import threading

import pytest

from core.process_tuning import pause_gc, set_niceness

SCRIPT = """
import gc
from core.process_tuning import freeze_gc
freeze_gc()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert len(gc.get_objects()) < 1000, len(gc.get_objects())
young, middle, _ = gc.get_threshold()
assert young * middle < 5000, "a young collection takes milliseconds"
"""


def test_existing_objects_are_excluded_from_collection() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_the_switch_interval_is_reduced() -> None:
    script = (
        "import sys; before = sys.getswitchinterval(); from core.process_tuning import lower_switch_interval as f; f()"
    )
    subprocess.run([sys.executable, "-c", f"{script}; assert sys.getswitchinterval() < before"], check=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have separate priorities on Linux only")
def test_the_niceness_of_a_thread_only_increases() -> None:
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), list[int]()

    def work() -> None:
        for nice in (before + 3, before + 1):
            set_niceness(nice)
            seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before + 3, before + 3]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_collection_is_paused_until_the_last_block_ends() -> None:
    with pause_gc():
        with pause_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
