"""Checks whether this machine can run the service."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dotenv import dotenv_values
from rich.console import Console

from candela import components
from candela.errors import CandelaError
from candela.home import Home
from candela.managed_process import ManagedProcess
from core.child_environment import build_child_environment
from core.python_process import PYTHON, set_import_path
from core.redaction import redact_credentials

MIN_FREE_BYTES = 2 * 2**30
QUEUE_TIMEOUT_S = 5.0
ROOT = Path(__file__).resolve().parents[1]
DASHBOARD_STAMP = ROOT / "app" / "web" / "vendor" / ".lock-sha256"  # written last
Check = Callable[[Path, Mapping[str, str]], str]


class CheckResult(NamedTuple):
    """The result of one check: what it found, or why it failed."""

    name: str
    has_passed: bool
    text: str


def run_checks(home: Path) -> bool:
    """Run every check and print its result. Return True if all checks passed."""
    console = Console(highlight=False, soft_wrap=True)
    has_passed = True
    for result in iterate_results(home):
        verdict = "[green]ok[/green]    " if result.has_passed else "[red]bad[/red]   "
        console.print(f"{verdict}{result.name:<10}", end="")
        console.print(result.text, markup=False)
        has_passed = has_passed and result.has_passed
    return has_passed


def iterate_results(home: Path) -> Iterator[CheckResult]:
    """Run every check, and yield its result when it has ended."""
    environ = read_environment()
    for name, check in CHECKS.items():
        yield _run_check(name, check, home.absolute(), environ)


def read_environment() -> dict[str, str]:
    """Return the environment, and the variables of `.env` that it does not set, as the service reads them."""
    file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**{name: value for name, value in file.items() if name.startswith("CANDELA_")}, **os.environ}


def _run_check(name: str, check: Check, home: Path, environ: Mapping[str, str]) -> CheckResult:
    try:
        return CheckResult(name, True, check(home, environ))
    except Exception as error:  # noqa: BLE001 - any exception means that the check failed
        reason = redact_credentials(" ".join(str(error).split())) or type(error).__name__
        return CheckResult(name, False, reason)


def check_torch(_home: Path, _environ: Mapping[str, str]) -> str:
    import torch
    import torchvision

    # This call fails if the versions of torchvision and torch do not match.
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    return f"{torch.__version__}, torchvision {torchvision.__version__}"


def check_device(_home: Path, _environ: Mapping[str, str]) -> str:
    import torch

    if torch.cuda.is_available():
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory_gib:.0f} GiB"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def check_numerics(_home: Path, _environ: Mapping[str, str]) -> str:
    """Compare a convolution and its gradient with sums over patches, in double and single precision."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    patches = images.unfold(2, 3, 1).unfold(3, 3, 1)  # (B, C, H', W', 3, 3)
    expected = torch.einsum("bchwij,ocij->bohw", patches, weight)
    expected_gradient = patches.sum(dim=(0, 2, 3)).expand(4, -1, -1, -1)
    worst = 0.0
    # The tolerance of float32 is large, because GPUs may use TF32, which has a 10-bit mantissa.
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 5e-3)):
        leaf = weight.to(device, dtype, copy=True).requires_grad_()
        outputs = torch.nn.functional.conv2d(images.to(device, dtype), leaf)
        outputs.sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None  # noqa: S101 - for the type checker
        for actual, reference in ((outputs, expected), (leaf.grad, expected_gradient)):
            error = float(((actual.detach().cpu().double() - reference).abs() / (1 + reference.abs())).max())
            if not error < tolerance:
                raise CandelaError(
                    f"a convolution in {dtype} on {device} has an error of {error:.1e}; at most {tolerance} is allowed"
                )
            worst = max(worst, error)
    return f"convolution and gradient agree with explicit sums (error at most {worst:.0e}, {device})"


def check_figures(_home: Path, environ: Mapping[str, str]) -> str:
    """Run the self-test of the training engine in a separate process and compare its results with expected values."""
    command, environment = [*PYTHON, "-m", "worker.engine.selftest"], set_import_path(build_child_environment(environ))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise CandelaError(f"the engine's self-test failed: {done.stderr.strip()[-300:]}")
    figures = {figure["name"]: figure for figure in json.loads(done.stdout)}
    for name, figure in figures.items():
        if not figure["is_passed"]:
            raise CandelaError(f"{name} is {figure['actual']:.7g}, expected {figure['expected']:.7g}")
    return FIGURES.format_map({name.replace(": ", "_"): figure["actual"] for name, figure in figures.items()})


FIGURES = (
    "autograd {autograd_value:.1f} and {autograd_gradient:.1f}; "
    "rosenbrock {rosenbrock_step 1000:.7g} after 1000 steps at ({rosenbrock_x1:.4f}, {rosenbrock_x2:.4f}); "
    "lbfgs {lbfgs, no line search_evaluations of step 1} + {lbfgs, no line search_evaluations of step 2} evaluations "
    "to {lbfgs, no line search_least:.4g}, strong Wolfe {lbfgs, strong_wolfe_evaluations of step 1} to "
    "{lbfgs, strong_wolfe_least:.4g}; losses {loss_mse:.2f}, {loss_bce_with_logits:.6f}, {loss_cross_entropy:.5f}"
)


def check_settings(_home: Path, _environ: Mapping[str, str]) -> str:
    """Check the values of all settings, and list the variables that are set without effect."""
    from core.settings_variables import find_variables
    from core.startup import describe_unknown_variables, load_settings

    unknown = describe_unknown_variables(load_settings())
    names = sorted(find_variables())
    found = f"{len(names)} variables are set" if names else "all settings have their defaults"
    return "; ".join([found, *unknown])


def check_database(home: Path, environ: Mapping[str, str]) -> str:
    """Connect to the database, write and delete a row, compare its schema, and read every page of a SQLite file."""
    from core.db.damage import check_database_file, get_database_file
    from core.db.schema import check_integrity, check_writable, read_schema_version
    from core.db.session import make_engine

    url = environ.get("CANDELA_DATABASE_URL")
    engine = make_engine(url or f"sqlite:///{home / 'candela.db'}")
    file = get_database_file(engine.url)
    if file is not None:
        if file.parent.is_dir():
            check_database_file(file)
        if not file.exists():
            return f"SQLite {sqlite3.sqlite_version}; {file} will be created at the first start"
    try:
        check_integrity(engine)
        version = read_schema_version(engine)
        is_current = version.current == version.required
        if is_current:
            check_writable(engine)
    finally:
        engine.dispose()
    where = f"SQLite {sqlite3.sqlite_version}" if file is not None else engine.url.render_as_string()
    if not is_current and url:
        raise CandelaError(
            f"the schema of {where} is {version.current or 'absent'}; required: {version.required}; run "
            "`candela migrate`"
        )
    state = f"schema {version.current} is writable" if is_current else "the schema is upgraded at the next start"
    return f"{where}; {state}" + ("" if file is None else f"; {file} is intact")


def check_queue(_home: Path, environ: Mapping[str, str]) -> str:
    """Write a key to the queue server and delete it. Without a server in the settings, start the private one."""
    if url := environ.get("CANDELA_REDIS_URL"):
        return f"{url.rsplit('@', 1)[-1]} is writable, version {_probe_queue(url)}"
    with tempfile.TemporaryDirectory(prefix="candela-") as folder:
        scratch = Home(Path(folder))
        scratch.logs.mkdir(parents=True)
        scratch.run.mkdir()
        path = scratch.choose_socket_path()
        part = components.create_broker(scratch, environ, path, None)
        part.start()
        try:
            _wait_for_socket(path, part)
            return f"a private Valkey starts, version {_probe_queue(f'unix://{path}')}"
        finally:
            part.stop(lambda: False)
            scratch.remove_socket(path)


def check_storage(home: Path, environ: Mapping[str, str]) -> str:
    """Write a file to the storage and delete it."""
    url = environ.get("CANDELA_STORAGE_URL", "")
    if url and not url.startswith("file:///"):
        return check_bucket(home, environ)
    folder = Path(url.removeprefix("file://")) if url else home
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor-") as file:
            file.write(b"candela")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CandelaError(
            f"{existing} cannot be written: {error.strerror}; give the user of the service access, or set "
            "CANDELA_STORAGE_URL or CANDELA_HOME to another folder"
        ) from error
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < MIN_FREE_BYTES:
        raise CandelaError(f"{existing} has only {free_bytes / 2**30:.1f} GiB free; at least 2 GiB are required")
    return f"{folder} is writable, {free_bytes / 2**30:.0f} GiB free"


def check_bucket(home: Path, environ: Mapping[str, str]) -> str:
    """Write an object to the bucket and delete it, with the storage code of the service."""
    command = [*PYTHON, "-m", "core.storage"]
    with tempfile.TemporaryDirectory(prefix="candela-") as folder:
        environment = {**components.omit_api_keys(environ), "CANDELA_HOME": str(home), "CANDELA_CACHE": folder}
        done = subprocess.run(  # noqa: S603 - ours
            command, cwd=ROOT, env=set_import_path(environment), capture_output=True, text=True, timeout=60, check=False
        )
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["the check failed"])[-1]
        raise CandelaError(last_line.removeprefix("candela: "))
    return f"{environ['CANDELA_STORAGE_URL']} is writable"


def _wait_for_socket(path: Path, part: ManagedProcess) -> None:
    deadline = time.monotonic() + 10.0
    while part.exit_status is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise CandelaError(f"the broker did not start: {part.read_last_lines(3)}")


def _probe_queue(url: str) -> str:
    """Write and delete a key, and return the version of the server."""
    import redis

    from core.bus import to_redis_py_url

    key = f"candela:doctor:{uuid.uuid4().hex}"
    try:
        with redis.Redis.from_url(
            to_redis_py_url(url), socket_timeout=QUEUE_TIMEOUT_S, socket_connect_timeout=QUEUE_TIMEOUT_S, retry=None
        ) as connection:
            connection.set(key, "written", ex=60)
            if not connection.delete(key):
                raise CandelaError("the server does not keep a key; the database number of CANDELA_REDIS_URL is shared")
            server, memory = connection.info("server"), connection.info("memory")
    except redis.AuthenticationError as error:
        raise CandelaError(f"{error}; correct the user and the password in CANDELA_REDIS_URL") from error
    except (redis.RedisError, OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise CandelaError(f"{reason}; check CANDELA_REDIS_URL and the Redis or Valkey server") from error
    policy = str(memory.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        raise CandelaError(f"the server may delete messages (maxmemory-policy {policy}); set it to noeviction")
    return str(server.get("valkey_version") or server["redis_version"])


def check_dashboard(_home: Path, _environ: Mapping[str, str]) -> str:
    """Check that the installation has copied the JavaScript libraries of the dashboard."""
    if not DASHBOARD_STAMP.is_file():
        raise CandelaError("its libraries are missing; run `make setup` with access to an npm registry")
    return f"{len(list(DASHBOARD_STAMP.parent.glob('*.*s')))} libraries"


CHECKS: dict[str, Check] = {
    "settings": check_settings,
    "torch": check_torch,
    "device": check_device,
    "numerics": check_numerics,
    "figures": check_figures,
    "database": check_database,
    "queue": check_queue,
    "storage": check_storage,
    "dashboard": check_dashboard,
}
