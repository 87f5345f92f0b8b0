"""The Python SDK, the command line and the embedded service. The SDK and the command line use only the HTTP API."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from candela.client import Client
    from candela.errors import CandelaError, JobFailed, ProblemError, Unreachable

__all__ = ["CandelaError", "Client", "JobFailed", "ProblemError", "Unreachable"]


def __getattr__(name: str) -> object:
    # These names are imported on first use, so that `candela --help` and `candela up` do not import httpx.
    if name == "Client":
        from candela.client import Client

        return Client
    if name in __all__:
        from candela import errors

        return getattr(errors, name)
    raise AttributeError(f"module 'candela' has no attribute {name!r}")
