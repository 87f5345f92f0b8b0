"""The SDK and the command line: they talk HTTP only; `up` starts the other parts as processes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from candela.client import Client
    from candela.errors import CandelaError, JobFailed, ProblemError, Unreachable

__all__ = ["CandelaError", "Client", "JobFailed", "ProblemError", "Unreachable"]


def __getattr__(name: str) -> object:
    # On demand: `candela --help` and the children of `candela up` pay for no HTTP client.
    if name == "Client":
        from candela.client import Client

        return Client
    if name in __all__:
        from candela import errors

        return getattr(errors, name)
    raise AttributeError(f"module 'candela' has no attribute {name!r}")
