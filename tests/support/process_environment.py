"""Reads the environment variables of running processes, and finds credentials in them."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tests.support.processes import list_children, read_command, wait_for

CREDENTIAL = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|_URL", re.IGNORECASE)
CREDENTIALS = {
    "CANDELA_API_KEYS": "hidden-1",
    "CANDELA_DATABASE_URL": "postgresql://user:hidden-2@db/candela",
    "CANDELA_REDIS_URL": "redis://:hidden-3@queue/0",
    "AWS_SECRET_ACCESS_KEY": "hidden-4",
    "AWS_SESSION_TOKEN": "hidden-5",
    "NVIDIA_API_KEY": "hidden-6",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hidden-7",
    "PGPASSWORD": "hidden-8",
    "HTTPS_PROXY": "http://user:hidden-9@proxy:3128",
}
"""Variables with credentials, as an operator sets them for the API and the workers."""


def read_environment(pid: int) -> dict[str, str]:
    """Return the variables that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def find_credentials(environment: dict[str, str]) -> list[str]:
    """Return the names of the variables that look like a credential or contain one."""
    return [name for name, value in environment.items() if CREDENTIAL.search(name) or "hidden-" in value]


def wait_for_child(module: str, parents: Iterable[int] = ()) -> int:
    """Wait until a descendant of this process, or of `parents`, runs `python -m module`, and return its id."""

    def find() -> int | None:
        ancestors = [os.getpid(), *parents]
        for parent in ancestors:
            for pid in list_children(parent):
                command = read_command(pid).split(b"\0")
                if module.encode() in command and b"-I" not in command:  # not `core.parent_death` before its exec
                    return pid
                ancestors.append(pid)
        return None

    return wait_for(find, f"the process of {module}")
