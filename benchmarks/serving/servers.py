"""Starts, pauses, resumes and stops servers, each in its own process group."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from benchmarks.serving.environments import PLACE, get_python

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 120.0
STOP_WITHIN_S = 30.0
# Keeps freed memory, so that activations cause no page faults in every batch. This service sets the same for itself.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_MMAP_THRESHOLD_": str(2**31 - 1),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",
}
QUIET_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration><Appenders><Console name="STDOUT" target="SYSTEM_OUT"/></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="STDOUT"/></Root></Loggers></Configuration>
"""


class ServerStartError(RuntimeError):
    """A server ended or does not respond."""


@dataclass(frozen=True)
class Settings:
    """The settings that determine the speed of a peer."""

    threads: int
    """Threads of torch in each computing process."""
    workers: int = 1
    """Computing processes. 0 makes MLServer compute in its main process."""
    max_batch_size: int = 32
    timeout_s: float = 0.005
    """How long a batch may wait for more requests."""
    fast_queue: bool = False
    """LitServe only: use ZeroMQ between its processes."""

    def to_environment(self, bundle: Path, dtype: str) -> dict[str, str]:
        return build_network_environment(bundle, dtype, self.threads) | {
            "BENCH_WORKERS": str(self.workers),
            "BENCH_MAX_BATCH_SIZE": str(self.max_batch_size),
            "BENCH_BATCH_TIMEOUT_S": str(self.timeout_s),
            "BENCH_FAST_QUEUE": str(int(self.fast_queue)),
        }


class Server:
    """A command in a new session. Its output goes to a file."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if name.startswith("raw") else log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, url: str, content: bytes, content_type: str) -> bytes:
        """Wait for the first successful response and return its body.

        Raises:
            ServerStartError: the process ended, or two minutes passed.
        """
        until, last = time.monotonic() + START_WITHIN_S, "nothing"
        while time.monotonic() < until and self.process.poll() is None:
            try:
                response = httpx.post(url, content=content, headers={"Content-Type": content_type}, timeout=60)
                if response.status_code == 200:
                    return response.content
                last = response.text[:300]
            except httpx.TransportError as error:
                last = repr(error)
            time.sleep(0.2)
        raise ServerStartError(
            f"{self.name} does not respond ({last}); see {self.log}:\n{self.log.read_text()[-2000:]}"
        )

    def pause(self) -> None:
        """Suspend all its processes, so that they use no CPU time."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Terminate it, and kill the process group if it does not end."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_WITHIN_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RawForward(Server):
    """A process that measures the raw forward pass."""

    def __init__(self, bundle: Path, dtype: str, threads: int) -> None:
        environment = build_network_environment(bundle, dtype, threads)
        super().__init__("raw-" + bundle.name, [sys.executable, "-m", "benchmarks.serving.peers.raw"], environment,
                         PLACE / "runs")  # fmt: skip
        self._read_line()

    def measure_rate(self, seconds: float) -> float:
        """Return images per second in batches of 32."""
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n".encode())
        self.process.stdin.flush()
        return float(self._read_line())

    def _read_line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        if not line:
            raise ServerStartError(f"{self.name} ended; see {self.log}:\n{self.log.read_text()[-2000:]}")
        return line


@contextmanager
def run_candela(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run `candela up` with its defaults and `environment`. Yields its URL and process id."""
    port = find_free_port()
    command = [sys.executable, "-m", "candela", "up", "--port", str(port), "--home", str(home)]
    with Server("candela", command, environment, PLACE / "runs") as server:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + START_WITHIN_S
        while not _is_service_ready(url):
            if time.monotonic() > until or server.process.poll() is not None:
                raise ServerStartError(f"candela does not start:\n{server.log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield url, server.process.pid


def _is_service_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def start_litserve(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """Start LitServe with one model and return the URL for predictions."""
    port = find_free_port()
    environment = settings.to_environment(bundle, dtype) | {"BENCH_PORT": str(port)}
    command = [str(get_python("litserve")), "-m", "benchmarks.serving.peers.lit"]
    server = Server(f"litserve-{bundle.name}", command, environment, _make_folder(f"litserve-{bundle.name}"))
    return server, f"http://127.0.0.1:{port}/predict"


def start_mlserver(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """Start MLServer with one model, without default features that the benchmark does not need."""
    folder, port = _make_folder(f"mlserver-{bundle.name}"), find_free_port()
    server_settings = {
        "debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": find_free_port(), "metrics_endpoint": None,
        "gzip_enabled": False, "parallel_workers": settings.workers,
    }  # fmt: skip
    model_settings = {
        "name": bundle.name,
        "implementation": "benchmarks.serving.peers.mlserver_runtime.Images",
        "max_batch_size": settings.max_batch_size,
        "max_batch_time": settings.timeout_s,
    }
    (folder / "settings.json").write_text(json.dumps(server_settings))
    (folder / "model-settings.json").write_text(json.dumps(model_settings))
    command = [str(get_python("mlserver").with_name("mlserver")), "start", str(folder)]
    environment = settings.to_environment(bundle, dtype)
    server = Server(f"mlserver-{bundle.name}", command, environment, folder)
    return server, f"http://127.0.0.1:{port}/v2/models/{bundle.name}/infer"


def start_torchserve(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """Start TorchServe with one model and without request logs. It has a Java front end and Python workers."""
    folder, address = _make_folder(f"torchserve-{bundle.name}"), f"http://127.0.0.1:{find_free_port()}"
    _write_archive(folder / "store" / f"{bundle.name}.mar", bundle.name)
    model_settings = {
        "defaultVersion": True,
        "marName": f"{bundle.name}.mar",
        "minWorkers": settings.workers,
        "maxWorkers": settings.workers,
        "batchSize": settings.max_batch_size,
        "maxBatchDelay": round(1000 * settings.timeout_s),
        "responseTimeout": 60,
    }
    properties = {
        "inference_address": address,
        "management_address": f"http://127.0.0.1:{find_free_port()}",
        "metrics_address": f"http://127.0.0.1:{find_free_port()}",
        "grpc_inference_port": find_free_port(),
        "grpc_management_port": find_free_port(),
        "disable_system_metrics": "true",
        "model_store": folder / "store",
        "load_models": f"{bundle.name}.mar",
        "models": json.dumps({bundle.name: {"1.0": model_settings}}),
        "job_queue_size": 1000,
    }
    (folder / "config.properties").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    (folder / "log4j2.xml").write_text(QUIET_LOG4J)  # the default logs every request several times
    command = [str(get_python("torchserve").with_name("torchserve")), "--start", "--foreground", "--disable-token-auth"]
    command += ["--ts-config", "config.properties", "--log-config", "log4j2.xml", "--model-store", "store"]
    path = f"{get_python('torchserve').parent}:{os.environ['PATH']}"
    environment = settings.to_environment(bundle, dtype) | {"TEMP": str(folder), "PATH": path}
    server = Server(f"torchserve-{bundle.name}", command, environment, folder)
    return server, f"{address}/predictions/{bundle.name}"


def _write_archive(path: Path, name: str) -> None:
    """Write the archive that `torch-model-archiver` would make. Its handler reads the model from the environment."""
    handler = ROOT / "benchmarks" / "serving" / "peers" / "torchserve_handler.py"
    model = {"modelName": name, "handler": handler.name, "modelVersion": "1.0"}
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(handler, handler.name)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))


def start_bentoml(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """Start BentoML with one model."""
    port = find_free_port()
    command = [str(get_python("bentoml").with_name("bentoml")), "serve", "benchmarks.serving.peers.bento:Images"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(ROOT)]
    environment = settings.to_environment(bundle, dtype) | {"BENTOML_DO_NOT_TRACK": "1"}
    server = Server(f"bentoml-{bundle.name}", command, environment, _make_folder(f"bentoml-{bundle.name}"))
    return server, f"http://127.0.0.1:{port}/predict"


PEERS = {
    "litserve": start_litserve,
    "mlserver": start_mlserver,
    "torchserve": start_torchserve,
    "bentoml": start_bentoml,
}


def build_network_environment(bundle: Path, dtype: str, threads: int = 0) -> dict[str, str]:
    """Return the environment variables that select the model for a peer. `threads` 0 keeps torch's default."""
    return {"BENCH_BUNDLE": str(bundle), "BENCH_DTYPE": dtype, "BENCH_THREADS": str(threads), **ALLOCATOR}


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _make_folder(name: str) -> Path:
    """Create a folder for the files of one server. `clear_runs` deletes those of earlier runs."""
    (PLACE / "runs").mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=PLACE / "runs"))


def clear_runs() -> None:
    """Delete the files of earlier runs."""
    shutil.rmtree(PLACE / "runs", ignore_errors=True)
