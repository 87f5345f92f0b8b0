"""What holds others up: the garbage collector that looks at what stays, threads and processes that go first."""

import os
import subprocess
import sys
import threading

import pytest

from core.process_tuning import set_niceness

SCRIPT = """
import gc
from core.process_tuning import spare_what_stays
spare_what_stays()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert len(gc.get_objects()) < 1000, len(gc.get_objects())
young, middle, _ = gc.get_threshold()
assert young * middle < 5000, "a look at what is young takes milliseconds"
"""


def test_what_is_there_is_spared() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_threads_give_way_sooner_than_usual() -> None:
    script = (
        "import sys; before = sys.getswitchinterval(); from core.process_tuning import let_threads_give_way as f; f()"
    )
    subprocess.run([sys.executable, "-c", f"{script}; assert sys.getswitchinterval() < before"], check=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_a_thread_gives_way_and_never_less_than_it_did() -> None:
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
