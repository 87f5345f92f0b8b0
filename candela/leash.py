"""Become a command that dies with the process that started it: `python -I -S leash.py PARENT_PID COMMAND…`."""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above: no signal will come
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command comes from candela.up, no shell is wanted


if __name__ == "__main__":
    main()
