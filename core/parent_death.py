"""Become a command that dies with the process that started it: `python -I -S leash.py PARENT_PID COMMAND…`."""

import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(command: Sequence[str]) -> list[str]:
    """The same command, ended by the kernel when this process dies; it holds before the command's first line runs.

    The kernel takes the end of the *thread* that starts it for the parent's. Elsewhere than on Linux it does nothing.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def set_parent_death_signal(parent: int) -> None:
    """Let this process be ended by the kernel when its parent dies, and end it now if that is dead already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above: no signal will come
        sys.exit(1)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    set_parent_death_signal(parent)
    os.execvp(command[0], command)  # noqa: S606 - the command comes from our own code, no shell is wanted


if __name__ == "__main__":
    main()
