"""Runs a command that is killed when its parent process ends: `python -I -S parent_death.py PARENT_PID COMMAND…`."""

import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command line that runs `command` in a process that the kernel kills when this process ends.

    The kernel also kills the process when the thread that started it ends. On systems other than Linux, the process is
    not killed.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def set_parent_death_signal(parent: int) -> None:
    """Make the kernel kill this process when its parent ends. Exit at once if the parent has already ended."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before prctl, so the kernel sends no signal
        sys.exit(1)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    set_parent_death_signal(parent)
    os.execvp(command[0], command)  # noqa: S606 - the command comes from this code base and needs no shell


if __name__ == "__main__":
    main()
