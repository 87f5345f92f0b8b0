"""A whole service as processes that a test may kill: the API, a worker, the sweep, on given servers."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx

from core.db.session import SessionFactory
from core.jobs import JobState
from core.storage import Storage
from tests.support.processes import wait_for
from tests.support.service import Service

TINY: dict[str, Any] = {
    "dataset": {"name": "synthetic", "image_shape": [1, 4, 4], "num_classes": 2, "num_samples": 96, "seed": 1},
    "architecture": {"name": "mlp", "hidden": [8], "dropout": 0.1},
    "schedule": {"name": "one_cycle", "max_lr": 0.01},
    "batch_size": 8,
    "seed": 7,
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
}
LONG = 100  # epochs: enough to be met on the way, by a quick machine too
LONGER = 500  # epochs: enough to be asked something on the way, and to be heard
SECRET = "a-key-that-nobody-may-read-in-a-log"


class Stack(Service):
    """Every part can be started, killed and started again; what is asked over HTTP is retried by nobody."""

    def __init__(
        self, home: Path, database_url: str, redis_url: str, sessions: SessionFactory, **settings: str
    ) -> None:
        super().__init__(home, database_url, redis_url, sessions)
        self._environment |= {"CANDELA_API_KEYS": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET} | settings
        self.storage: Storage | None = None  # unless it is the folder in `home`
        self.known_defects: set[str] = set()
        self.api: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.sweep: subprocess.Popen[bytes] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)  # open while no API is there
        self._listener.set_inheritable(True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.http = self.client()
        self._twins: dict[str, str] = {}

    def heal(self) -> None:
        """Start whatever is not running."""
        if self.api is None or self.api.poll() is not None:
            self.start_api()
        if self.worker is None or self.worker.poll() is not None:
            self.worker = self.start_worker()
        if self.sweep is None or self.sweep.poll() is not None:
            self.sweep = self.start_sweep()
        wait_for(self.is_ready, "the API", 120)

    def start_api(self, **settings: str) -> "subprocess.Popen[bytes]":
        fd = self._listener.fileno()
        self.api = self._start("api", ["-m", "candela.serve", str(fd)], settings, pass_fds=(fd,))
        return self.api

    def client(self) -> httpx.Client:
        """Who has the key."""
        return httpx.Client(base_url=self.url, timeout=60, headers={"Authorization": f"Bearer {SECRET}"})

    def reconnect(self) -> None:
        """Forget the connections to an API that is gone."""
        self.http.close()
        self.http = self.client()

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pids(self) -> set[int]:
        """Of the parts that run."""
        return {process.pid for process in self._processes if process.poll() is None}

    def trainers(self) -> list[int]:
        """Of the worker that runs: those that train, and one that stands by."""
        pid = self.worker.pid if self.worker is not None else 0
        found = []
        for folder in Path("/proc").iterdir():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and b"worker.trainer" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except (OSError, ValueError, IndexError):  # no process, or it has just ended
                continue
        return sorted(found)

    def close(self) -> None:
        self.stop()
        self.http.close()
        self._listener.close()

    def file(self, key: str) -> Path:
        """What the store has under that key."""
        return self.home / "store" / key if self.storage is None else self.storage.path(key)

    # ---- jobs

    def post(self, **changes: Any) -> str:
        """A tiny job over HTTP; its id."""
        answer = self.http.post("/v1/jobs", json={**TINY, "name": "tiny", "model": "tiny", **changes})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def under_way(self, job_id: str, epoch: int = 3) -> int:
        """Wait until the job is some epochs far; the pid of its trainer."""
        row = self.until(
            job_id,
            lambda row: row.state is JobState.RUNNING and row.progress.get("epoch", 0) >= epoch,
            f"epoch {epoch}",
        )
        return int((row.runtime or {})["trainer_pid"])

    def weights(self, job_id: str) -> str:
        """The hash of what a job left, which must have succeeded."""
        row = self.finished(job_id)
        assert row.state is JobState.SUCCEEDED, f"{row.state} {row.failure}\n{self.logs()}"
        return self.model(job_id).sha256

    def twin(self, **changes: Any) -> str:
        """The weights of a job with these changes that nobody disturbs."""
        key = json.dumps(changes, sort_keys=True)
        if key not in self._twins:
            self._twins[key] = self.weights(self.post(**changes))
        return self._twins[key]
