"""A process is killed when its parent ends."""

import os
import subprocess
import sys

import pytest

from core.parent_death import die_with_parent
from tests.support.processes import is_alive, wait_for


@pytest.mark.skipif(sys.platform != "linux", reason="the parent death signal requires Linux")
def test_a_process_ends_when_its_parent_is_killed() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    code = (
        "import subprocess, sys; from core.parent_death import die_with_parent;"
        f"p = subprocess.Popen(die_with_parent({sleeper!r})); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        wait_for(lambda: not is_alive(child), "the child's end")


def test_a_process_of_an_ended_parent_does_not_start() -> None:
    command = die_with_parent([sys.executable, "-c", "print('ran')"])
    command[command.index(str(os.getpid()))] = "1"  # as if the parent had ended
    assert subprocess.run(command, capture_output=True, check=False).stdout == b""
