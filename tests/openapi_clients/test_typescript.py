"""TypeScript clients that two generators make of the OpenAPI document compile, and one of them runs: `make clients`."""

import json
import shutil
from pathlib import Path

import pytest

from tests.openapi_clients.node_tools import (
    COMPILER,
    DOCUMENT,
    FOLDER,
    SDK_GENERATOR,
    TYPES_GENERATOR,
    install_packages,
    run_node,
    run_tool,
)

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]
OPTIONS = (
    "--strict",
    "--target",
    "es2022",
    "--module",
    "commonjs",
    "--moduleResolution",
    "node10",
    "--lib",
    "es2023,dom,dom.iterable",
)


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    install_packages()


def compile_file(file: Path, *options: str) -> None:
    """Compile a TypeScript file and its imports with strict types."""
    run = run_tool(COMPILER, *OPTIONS, *options, file, folder=file.parent)
    assert run.returncode == 0, run.stdout[:4000]


def test_the_types_of_openapi_typescript_compile(tmp_path: Path) -> None:
    # Otherwise, every property that has a default is required in requests.
    options = ("--default-non-nullable=false", "--output", tmp_path / "schema.d.ts")
    run = run_tool(TYPES_GENERATOR, DOCUMENT, *options)
    assert run.returncode == 0, run.stderr
    compile_file(Path(shutil.copy(FOLDER / "use_types.ts", tmp_path)), "--noEmit")


def test_the_sdk_of_openapi_ts_compiles_and_works(tmp_path: Path, url: str) -> None:
    output = tmp_path / "generated"
    run = run_tool(SDK_GENERATOR, "-i", DOCUMENT, "-o", output, "-c", "@hey-api/client-fetch", "--no-log-file")
    assert run.returncode == 0, run.stdout + run.stderr
    (tmp_path / "node.d.ts").write_text("declare const process: { argv: string[]; exit(status: number): never };\n")
    source = Path(shutil.copy(FOLDER / "use_sdk.ts", tmp_path))
    compile_file(source, str(tmp_path / "node.d.ts"), "--outDir", str(tmp_path / "compiled"))
    used = run_node(tmp_path / "compiled" / "use_sdk.js", url, folder=tmp_path)
    assert used.returncode == 0, used.stdout + used.stderr
    assert json.loads(used.stdout.splitlines()[-1]) == {
        "state": "queued",
        "optimizer": "sgd",
        "numJobs": 1,
        "problem": "/problems/not-found",
        "predictions": 1,
        "outputs": ["probabilities"],
    }
