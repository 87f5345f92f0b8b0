"""Writes the synchronous modules of the SDK from the asynchronous ones in `candela/aio`: `make sdk`.

Each operation is described once, in `candela/aio`. A contract test fails if the generated modules are out of date.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "candela" / "aio"
HAND_WRITTEN = frozenset({"__init__", "concurrency"})  # `candela.concurrency` has the functions without `await`
RULES = [
    (r"\[(\w+) async for \1 in (.+)\]", r"list(\2)"),
    (r"\bAwaitable\[(.+?)\]", r"\1"),
    (r"from collections\.abc import (.*)\bAwaitable, ", r"from collections.abc import \1"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bcandela\.aio\b", "candela"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\baclosing\b", "closing"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\.aclose\(", ".close("),
    (r"\.aread\(", ".read("),
    (r"\baiter_", "iter_"),
]


def list_sources() -> list[Path]:
    """Return the asynchronous modules from which modules are generated."""
    return [path for path in sorted(SOURCES.glob("*.py")) if path.stem not in HAND_WRITTEN]


def get_target(source: Path) -> Path:
    """Return the path of the generated module."""
    return SOURCES.parent / source.name


def generate_module(source: Path) -> str:
    """Return the synchronous module of an asynchronous one, formatted."""
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    header = f"# Generated from {source.relative_to(ROOT).as_posix()} by `make sdk`. Edit that file.\n"
    target = str(get_target(source))
    text = _run_ruff(header + text, "check", "--select", "I", "--fix-only", "--stdin-filename", target, "-")
    return _run_ruff(text, "format", "--stdin-filename", target, "-")


def _run_ruff(text: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments]
    # The command is constant.
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def main() -> None:
    for source in list_sources():
        get_target(source).write_text(generate_module(source), encoding="utf-8")


if __name__ == "__main__":
    main()
