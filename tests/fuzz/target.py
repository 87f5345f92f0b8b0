"""Describes a fuzz target: a function that takes bytes and raises only on a bug."""

import importlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

REGRESSIONS = Path(__file__).parent / "regressions"
MODULES = {
    "archive_tar": "tests.fuzz.targets.files",
    "archive_gzip": "tests.fuzz.targets.files",
    "archive_zip": "tests.fuzz.targets.files",
    "image": "tests.fuzz.targets.files",
    "table_csv": "tests.fuzz.targets.files",
    "json_strict": "tests.fuzz.targets.documents",
    "json_predict": "tests.fuzz.targets.predictions",
    "json_inline": "tests.fuzz.targets.documents",
    "job_spec": "tests.fuzz.targets.documents",
    "oip_json": "tests.fuzz.targets.oip",
    "oip_binary": "tests.fuzz.targets.oip",
    "content_coding": "tests.fuzz.targets.content_codings",
    "http_head": "tests.fuzz.targets.http",
    "multipart": "tests.fuzz.targets.multipart",
    "upload_headers": "tests.fuzz.targets.uploads",
}
"""The module of each target. Modules are imported by the process that runs their targets."""

INSTRUMENTED = {"tests.fuzz.targets.files": ("core", "zipfile")}
"""The packages whose coverage guides the targets of a module, if they are not those of `DEFAULT_INSTRUMENTED`."""
DEFAULT_INSTRUMENTED = ("app", "core", "python_multipart")

Mutate = Callable[[bytes, random.Random], bytes | None]


class FuzzTarget(NamedTuple):
    """A function of the product, with the inputs to start from.

    Attributes:
        run: takes an input. Documented errors are caught; every exception that leaves it is a bug.
        seeds: returns the inputs to start from.
        mutate: changes an input and keeps its structure. Returns None if the input has no such structure.
        tokens: bytes that have a meaning in the format.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate = lambda body, rng: None
    tokens: tuple[bytes, ...] = ()


def load_target(name: str) -> FuzzTarget:
    """Return the target with a name in `MODULES`, or the target `name` of a module for `module:name`."""
    module, _, key = name.rpartition(":")
    target: FuzzTarget = importlib.import_module(module or MODULES[key]).TARGETS[key]
    return target


def list_instrumented(name: str) -> list[str]:
    """Return the packages whose coverage guides a target."""
    return list(INSTRUMENTED.get(MODULES[name], DEFAULT_INSTRUMENTED))


def list_regressions(name: str) -> list[Path]:
    """Return the files with inputs that failed once. Every run starts with them."""
    return sorted((REGRESSIONS / name).glob("*.bin"))
