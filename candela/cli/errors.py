"""Reports an error of a command: as text on standard error, or as JSON on standard output."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from candela.cli.job_lookup import AmbiguousReference
from candela.cli.output import print_json
from candela.errors import CandelaError, JobFailed, ProblemError, Unreachable, UnusableFile, WatchInterrupted
from candela.redaction import redact_credentials


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether the command line has the option `--json`, even if the rest of it is invalid."""
    options = list(arguments)
    return "--json" in (options[: options.index("--")] if "--" in options else options)


def exit_with_error(error: Exception, *, as_json: bool, status: int = 1) -> NoReturn:
    """Print the error once and exit."""
    if as_json:
        print_json(describe_error(error))
    else:
        print(f"candela: {format_error(error)}", file=sys.stderr)
    sys.exit(status)


def format_error(error: Exception) -> str:
    """Return the message of an error, without credentials."""
    if hasattr(error, "format_message"):  # the command line is invalid
        return str(error.format_message())
    if isinstance(error, OSError) and error.filename:
        return redact_credentials(f"{error.filename}: {error.strerror}")
    return redact_credentials(str(error))


def describe_error(error: Exception) -> dict[str, Any]:
    """Return an error as JSON: the problem of the server, or an object with the same fields."""
    if isinstance(error, ProblemError):
        return {"type": "about:blank", "title": error.title, "status": error.status, "detail": error.detail} | (
            error.problem
        )
    kind, title, extra = _classify(error)
    return {"type": kind, "title": title, "detail": format_error(error)} | ({"facts": extra} if extra else {})


def _classify(error: Exception) -> tuple[str, str, dict[str, Any]]:
    match error:
        case JobFailed():
            extra = {"job_id": error.job_id, "state": error.state, "failure": error.failure or None}
            return "job-failed", "The job did not succeed", extra
        case AmbiguousReference():
            return f"ambiguous-{error.kind}", f"Several {error.kind}s match", {"candidates": error.candidates}
        case Unreachable():
            return "unreachable", "The server cannot be reached", {}
        case WatchInterrupted():
            return "interrupted", "The command was interrupted", {}
        case TimeoutError():
            return "timeout", "The time is over", {}
        case UnusableFile() | OSError():
            return "file", "A file cannot be used", {}
        case CandelaError():
            return "failed", "The command failed", {}
        case _:
            return "usage", "The command line is invalid", {}
