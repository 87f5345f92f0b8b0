"""Loads the settings. If the configuration is invalid, exits with a one-line message and status 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from rapidfuzz import process
from rapidfuzz.distance import JaroWinkler

from core.errors import ConfigurationError
from core.redaction import redact_credentials
from core.settings import PREFIX, Settings, get_variable_name
from core.settings_errors import format_validation_error
from core.settings_variables import SYNONYMS, find_renamed_variables, find_unknown_variables

WARNING = "candela warning: "  # not `candela: `, by which `candela up` finds the error that ended a process
REFERENCE = "docs/reference/settings.md"
MIN_SIMILARITY = 0.75
_warnings: set[str] = set()
"""Lines that this process has printed. A process may load its settings several times."""


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
    """Load the settings from the environment. Warn of `CANDELA_…` variables that are not settings.

    Raises:
        SystemExit: a setting is invalid, or a variable has an old name. The printed message names the variable and the
            reason.
    """
    with exit_on_configuration_error():
        settings = load_settings()
    for line in describe_unknown_variables(settings):
        if line not in _warnings:
            _warnings.add(line)
            sys.stderr.write(f"{WARNING}{line}\n")
    sys.stderr.flush()
    return settings


def load_settings() -> Settings:
    """Load the settings from the environment.

    Raises:
        ConfigurationError: a setting is invalid, or a variable has an old name.
    """
    if renamed := find_renamed_variables():
        raise ConfigurationError("; ".join(f"{old} was renamed: set {new} instead" for old, new in renamed.items()))
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError(format_validation_error(error)) from error


def describe_unknown_variables(settings: Settings) -> list[str]:
    """Return a line for each `CANDELA_…` variable that is not a setting, with the settings of similar names."""
    return [_describe_unknown(name) for name in find_unknown_variables(settings)]


def _describe_unknown(name: str) -> str:
    short = name.removeprefix(PREFIX)
    fields = [field for field, others in SYNONYMS.items() if short in others.split()] or [
        field
        for field, score, _ in process.extract(
            short.lower(), list(Settings.model_fields), scorer=JaroWinkler.normalized_similarity, limit=1
        )
        if score >= MIN_SIMILARITY
    ]
    hint = f"did you mean {get_variable_name(fields[0])}?" if fields else f"{REFERENCE} lists all settings"
    return f"{name} is not a setting and has no effect; {hint}"
