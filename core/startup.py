"""Loads the settings. If the configuration is invalid, exits with a one-line message and status 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.errors import ConfigurationError
from core.redaction import redact_credentials
from core.settings import Settings, find_renamed_variables


@contextmanager
def exit_on_configuration_error() -> Iterator[None]:
    """Print a ConfigurationError as a one-line message to stderr instead of a traceback, and exit.

    Raises:
        SystemExit: a ConfigurationError occurred. The exit status is 1.
    """
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"candela: {redact_credentials(' '.join(str(error).split()))}\n")
        sys.stderr.flush()
        raise SystemExit(1) from None


def load_settings_or_exit() -> Settings:
    """Load the settings from the environment.

    Raises:
        SystemExit: a setting is invalid, or a variable has an old name. The printed message names the variable and the
            reason.
    """
    with exit_on_configuration_error():
        if renamed := find_renamed_variables():
            raise ConfigurationError("; ".join(f"{old} was renamed: set {new} instead" for old, new in renamed.items()))
        try:
            return Settings()
        except ValidationError as error:
            raise ConfigurationError(format_validation_error(error)) from error


def format_validation_error(error: ValidationError) -> str:
    """Format all invalid settings as one line with their variable names. Omit values that may contain secrets."""
    return "; ".join(_format_error(item) for item in error.errors(include_url=False))


def _format_error(item: ErrorDetails) -> str:
    name = "_".join(str(part) for part in item["loc"]).upper()
    return f"CANDELA_{name}{_format_value(item['input'])}: {item['msg'].removeprefix('Value error, ')}"


def _format_value(value: object) -> str:
    is_harmless = isinstance(value, str) and "@" not in value and "://" not in value
    return f"={value!r}" if is_harmless else ""
