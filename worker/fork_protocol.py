"""Messages between the worker and its zygote, the process that forks trainers.

The worker sends `FORK` with four file descriptors: stdin, stdout and stderr of the trainer, and one end of a socket.
The zygote responds with a `PROCESS_ID`, or with a negative error number if it cannot fork. When the trainer has exited,
the zygote sends its `EXIT_STATUS` through that socket, and keeps the zombie until the worker closes the other end.
"""

import struct

FORK = b"f"
NUM_FDS = 4
PROCESS_ID = struct.Struct("i")
EXIT_STATUS = struct.Struct("i")
"""Negative if a signal ended the process, as in `subprocess.Popen.returncode`."""
