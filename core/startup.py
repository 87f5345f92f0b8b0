"""Loads the settings, and exits with one line and status 1 if the configuration is invalid."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from core.errors import ConfigurationError
from core.settings import Settings


@contextmanager
def exit_on_configuration_error() -> Iterator[None]:
    """Exit with a one-line message instead of a traceback on a ConfigurationError.

    Raises:
        SystemExit: with status 1, after the line was printed to stderr.
    """
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"candela: {' '.join(str(error).split())}\n")
        sys.stderr.flush()
        raise SystemExit(1) from None


def load_settings_or_exit() -> Settings:
    """Load the settings from the environment.

    Raises:
        SystemExit: a variable is invalid. The line names the variable, its value and the accepted values.
    """
    with exit_on_configuration_error():
        try:
            return Settings()
        except ValidationError as error:
            raise ConfigurationError(format_validation_error(error)) from error


def format_validation_error(error: ValidationError) -> str:
    """Format each invalid setting with its variable name. Values that may be secret are omitted."""
    return "; ".join(
        f"CANDELA_{'_'.join(str(part) for part in item['loc']).upper()}{_format_value(item['input'])}: {item['msg']}"
        for item in error.errors(include_url=False)
    )


def _format_value(value: object) -> str:
    is_harmless = isinstance(value, str) and "@" not in value and "://" not in value
    return f"={value!r}" if is_harmless else ""
