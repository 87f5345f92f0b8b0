"""The Python SDK, the command line and the embedded service. The SDK and the command line use only the HTTP API."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from candela.aio.client import AsyncClient
    from candela.client import Client
    from candela.errors import CandelaError, JobFailed, ProblemError, Unreachable
    from candela.version import __version__

__all__ = ["AsyncClient", "CandelaError", "Client", "JobFailed", "ProblemError", "Unreachable", "__version__"]

_MODULES = {"AsyncClient": "candela.aio.client", "Client": "candela.client", "__version__": "candela.version"}


def __getattr__(name: str) -> object:
    # These names are imported on first use, so that `candela --help` and `candela up` do not import httpx.
    if name not in __all__:
        raise AttributeError(f"module 'candela' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "candela.errors")), name)
