"""Servers as process groups of their own: started, waited for, stilled while another is measured, stopped."""

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

from benchmarks.serving.environments import PLACE, python_of

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 120.0
STOP_WITHIN_S = 30.0
# The kernel need not fault tens of MB of activations in and out for every batch: what this service sets for itself.
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


class NotStarted(RuntimeError):
    """A server ended, or does not answer."""


@dataclass(frozen=True)
class Settings:
    """What makes a peer quick or slow."""

    threads: int
    """Of torch, in each process that computes."""
    workers: int = 1
    """Processes that compute; for MLServer, 0 is none beside the server's own."""
    max_batch_size: int = 32
    timeout_s: float = 0.005
    """How long a batch may wait to be filled."""
    fast_queue: bool = False
    """LitServe's: ZeroMQ between its processes."""

    def variables(self, bundle: Path, dtype: str) -> dict[str, str]:
        return network_variables(bundle, dtype, self.threads) | {
            "BENCH_WORKERS": str(self.workers),
            "BENCH_MAX_BATCH_SIZE": str(self.max_batch_size),
            "BENCH_BATCH_TIMEOUT_S": str(self.timeout_s),
            "BENCH_FAST_QUEUE": str(int(self.fast_queue)),
        }


class Server:
    """One command in a session of its own, its output in a file."""

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

    def wait_until_answers(self, url: str, content: bytes, content_type: str) -> bytes:
        """Return the first good answer.

        Raises:
            NotStarted: the process ended, or two minutes passed.
        """
        until, last = time.monotonic() + START_WITHIN_S, "nothing"
        while time.monotonic() < until and self.process.poll() is None:
            try:
                answer = httpx.post(url, content=content, headers={"Content-Type": content_type}, timeout=60)
                if answer.status_code == 200:
                    return answer.content
                last = answer.text[:300]
            except httpx.TransportError as error:
                last = repr(error)
            time.sleep(0.2)
        raise NotStarted(f"{self.name} does not answer ({last}); see {self.log}:\n{self.log.read_text()[-2000:]}")

    def still(self) -> None:
        """Stop it in its tracks: not even its timers take processor time from another."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end; kill the group if it does not."""
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


class Raw(Server):
    """The bare forward, which measures itself."""

    def __init__(self, bundle: Path, dtype: str, threads: int) -> None:
        environment = network_variables(bundle, dtype, threads)
        super().__init__("raw-" + bundle.name, [sys.executable, "-m", "benchmarks.serving.peers.raw"], environment,
                         PLACE / "runs")  # fmt: skip
        self._line()

    def rate(self, seconds: float) -> float:
        """Images a second, in batches of 32."""
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n".encode())
        self.process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        if not line:
            raise NotStarted(f"{self.name} ended; see {self.log}:\n{self.log.read_text()[-2000:]}")
        return line


@contextmanager
def candela(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """The whole service as `candela up` starts it, its defaults but for `environment`; yields address and process."""
    port = free_port()
    command = [sys.executable, "-m", "candela", "up", "--port", str(port), "--home", str(home)]
    with Server("candela", command, environment, PLACE / "runs") as server:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + START_WITHIN_S
        while not _is_ready(url):
            if time.monotonic() > until or server.process.poll() is not None:
                raise NotStarted(f"candela does not start:\n{server.log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield url, server.process.pid


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def litserve(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """One model on LitServe; returns the address of its predictions too."""
    port = free_port()
    environment = settings.variables(bundle, dtype) | {"BENCH_PORT": str(port)}
    command = [str(python_of("litserve")), "-m", "benchmarks.serving.peers.lit"]
    server = Server(f"litserve-{bundle.name}", command, environment, _fresh(f"litserve-{bundle.name}"))
    return server, f"http://127.0.0.1:{port}/predict"


def mlserver(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """One model on MLServer, with what it has switched on by default and does not need here switched off."""
    folder, port = _fresh(f"mlserver-{bundle.name}"), free_port()
    server_words = {
        "debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_endpoint": None,
        "gzip_enabled": False, "parallel_workers": settings.workers,
    }  # fmt: skip
    model_words = {
        "name": bundle.name,
        "implementation": "benchmarks.serving.peers.mlserver_runtime.Pictures",
        "max_batch_size": settings.max_batch_size,
        "max_batch_time": settings.timeout_s,
    }
    (folder / "settings.json").write_text(json.dumps(server_words))
    (folder / "model-settings.json").write_text(json.dumps(model_words))
    command = [str(python_of("mlserver").with_name("mlserver")), "start", str(folder)]
    environment = settings.variables(bundle, dtype)
    server = Server(f"mlserver-{bundle.name}", command, environment, folder)
    return server, f"http://127.0.0.1:{port}/v2/models/{bundle.name}/infer"


def torchserve(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """One model on TorchServe: a Java front and Python workers, its logging switched off."""
    folder, address = _fresh(f"torchserve-{bundle.name}"), f"http://127.0.0.1:{free_port()}"
    _write_archive(folder / "store" / f"{bundle.name}.mar", bundle.name)
    of_model = {
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
        "management_address": f"http://127.0.0.1:{free_port()}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "disable_system_metrics": "true",
        "model_store": folder / "store",
        "load_models": f"{bundle.name}.mar",
        "models": json.dumps({bundle.name: {"1.0": of_model}}),
        "job_queue_size": 1000,
    }
    (folder / "config.properties").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    (folder / "log4j2.xml").write_text(QUIET_LOG4J)  # by default every request is logged several times
    command = [str(python_of("torchserve").with_name("torchserve")), "--start", "--foreground", "--disable-token-auth"]
    command += ["--ts-config", "config.properties", "--log-config", "log4j2.xml", "--model-store", "store"]
    path = f"{python_of('torchserve').parent}:{os.environ['PATH']}"
    environment = settings.variables(bundle, dtype) | {"TEMP": str(folder), "PATH": path}
    server = Server(f"torchserve-{bundle.name}", command, environment, folder)
    return server, f"{address}/predictions/{bundle.name}"


def _write_archive(path: Path, name: str) -> None:
    """What `torch-model-archiver` makes of a handler: it reads the network from where the variables say."""
    handler = ROOT / "benchmarks" / "serving" / "peers" / "torchserve_handler.py"
    model = {"modelName": name, "handler": handler.name, "modelVersion": "1.0"}
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(handler, handler.name)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))


def bentoml(bundle: Path, dtype: str, settings: Settings) -> tuple[Server, str]:
    """One model on BentoML."""
    port = free_port()
    command = [str(python_of("bentoml").with_name("bentoml")), "serve", "benchmarks.serving.peers.bento:Pictures"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(ROOT)]
    environment = settings.variables(bundle, dtype) | {"BENTOML_DO_NOT_TRACK": "1"}
    server = Server(f"bentoml-{bundle.name}", command, environment, _fresh(f"bentoml-{bundle.name}"))
    return server, f"http://127.0.0.1:{port}/predict"


PEERS = {"litserve": litserve, "mlserver": mlserver, "torchserve": torchserve, "bentoml": bentoml}


def network_variables(bundle: Path, dtype: str, threads: int = 0) -> dict[str, str]:
    """What a peer's process reads of the network; `threads` 0 is torch's own choice."""
    return {"BENCH_BUNDLE": str(bundle), "BENCH_DTYPE": dtype, "BENCH_THREADS": str(threads), **ALLOCATOR}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fresh(name: str) -> Path:
    """A folder for one server's files; those of runs before are swept away by `clear_runs`."""
    (PLACE / "runs").mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=PLACE / "runs"))


def clear_runs() -> None:
    """Forget what earlier runs have logged."""
    shutil.rmtree(PLACE / "runs", ignore_errors=True)
