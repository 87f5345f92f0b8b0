"""What stays is not looked at by the garbage collector any more."""

import subprocess
import sys

SCRIPT = """
import gc
from core.responsive import spare_what_stays
spare_what_stays()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert len(gc.get_objects()) < 1000, len(gc.get_objects())
"""


def test_what_is_there_is_spared() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_threads_give_way_sooner_than_usual() -> None:
    script = "import sys; before = sys.getswitchinterval(); from core.responsive import let_threads_give_way as f; f()"
    subprocess.run([sys.executable, "-c", f"{script}; assert sys.getswitchinterval() < before"], check=True, timeout=60)
