"""What stays is not looked at by the garbage collector any more."""

import subprocess
import sys

SCRIPT = """
import gc
from core.garbage import spare_what_stays
spare_what_stays()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert len(gc.get_objects()) < 1000, len(gc.get_objects())
"""


def test_what_is_there_is_spared() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
