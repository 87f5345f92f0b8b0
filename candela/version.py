"""Reads the version of the installed distribution, which `pyproject.toml` states."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "candela-ml"  # `candela` on PyPI is another project

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # the source tree is on the path, but is not installed
    __version__ = "unknown"
