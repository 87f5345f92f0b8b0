"""Reads the version of the service from `pyproject.toml`, which is part of every installation of the server."""

import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@cache
def get_version() -> str:
    """Return the version, such as `0.1.0`."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version
