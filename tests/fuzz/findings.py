"""Stores the inputs that fail, one for each distinct place of failure."""

import hashlib
import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["crash", "memory", "timeout", "death"]
ROOT = Path(__file__).parents[2]
PRODUCT = ("app", "core")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line \d+,? in (?P<function>\S+)')


class Failure(NamedTuple):
    """Why an example failed.

    Attributes:
        kind: `crash` is an unexpected exception, `memory` a MemoryError, `timeout` too much CPU or wall time, and
            `death` any other end of the process.
        place: the exception and the innermost function of the product. Failures in the same place are one finding.
        report: the traceback.
    """

    kind: Kind
    place: str
    report: str


class Finding(NamedTuple):
    """A stored failure and its input."""

    path: Path
    kind: Kind
    place: str


def describe_exception(error: BaseException) -> Failure:
    """Return the failure of an example that raised an exception."""
    report = "".join(traceback.format_exception(error))
    frames = [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    kind: Kind = "memory" if isinstance(error, MemoryError) else "crash"
    return Failure(kind, f"{type(error).__name__} in {find_place(frames)}", report)


def describe_death(kind: Kind, report: str) -> Failure:
    """Return the failure of an example that ended its process. `report` is what `faulthandler` wrote, if anything."""
    frames = [(match["file"], match["function"]) for match in _FRAME.finditer(report)]
    return Failure(kind, f"{kind} in {find_place(reversed(frames))}", report)


def find_place(frames: Iterable[tuple[str, str]]) -> str:
    """Return the innermost function of the product, or of all files if there is none. Frames are outermost first."""
    listed = list(frames)
    for file, function in reversed(listed):
        path = Path(file)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PRODUCT:
            return f"{path.relative_to(ROOT)}:{function}"
    return f"{Path(listed[-1][0]).name}:{listed[-1][1]}" if listed else "an unknown place"


class FindingsFolder:
    """The findings of one target: a file with the input, and a `.txt` file with the place and the traceback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, failure: Failure, body: bytes) -> bool:
        """Store a failure. Return False if its place is stored with an input that is not larger."""
        path = self._folder / f"{failure.kind}-{hashlib.sha256(failure.place.encode()).hexdigest()[:12]}.bin"
        if path.exists() and path.stat().st_size <= len(body):
            return False
        path.with_suffix(".txt").write_text(f"{failure.place}\n\n{failure.report}", errors="replace")
        path.write_bytes(body)
        return True

    def list_findings(self) -> list[Finding]:
        """Return the findings, sorted by name."""
        return [
            Finding(path, _parse_kind(path), path.with_suffix(".txt").read_text().partition("\n")[0])
            for path in sorted(self._folder.glob("*.bin"))
        ]


def _parse_kind(path: Path) -> Kind:
    kinds: dict[str, Kind] = {"crash": "crash", "memory": "memory", "timeout": "timeout", "death": "death"}
    return kinds[path.stem.partition("-")[0]]
