"""How a process of ours refuses to start: one line that names what is wrong, and exit status 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from core.errors import ConfigurationError
from core.settings import Settings


@contextmanager
def exit_on_configuration_error() -> Iterator[None]:
    """Turn a ConfigurationError into the end of the process; operators read a line sooner than a traceback.

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
    """The settings of the environment.

    Raises:
        SystemExit: a variable cannot be taken; the line names it, its value, and what would be accepted.
    """
    with exit_on_configuration_error():
        try:
            return Settings()
        except ValidationError as error:
            raise ConfigurationError(format_validation_error(error)) from error


def format_validation_error(error: ValidationError) -> str:
    """Every wrong setting by the name of its variable; values that may be secret stay unsaid."""
    return "; ".join(
        f"CANDELA_{'_'.join(str(part) for part in item['loc']).upper()}{_format_value(item['input'])}: {item['msg']}"
        for item in error.errors(include_url=False)
    )


def _format_value(value: object) -> str:
    is_harmless = isinstance(value, str) and "@" not in value and "://" not in value
    return f"={value!r}" if is_harmless else ""
