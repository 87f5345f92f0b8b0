"""Reads the version of the installed distribution, which `pyproject.toml` states."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "candela-ml"  # `candela` on PyPI is another project


def read_version() -> str:
    """Return the version of this package: from `pyproject.toml` in a clone of the repository, else as installed."""
    try:
        project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
        if project["name"] == DISTRIBUTION:
            return str(project["version"])
    except (OSError, ValueError, KeyError):  # installed from a wheel
        pass
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


__version__ = read_version()
