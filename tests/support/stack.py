"""The whole service as processes that a test may kill: the API, a worker and the maintenance loop."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx

from core.db.session import SessionFactory
from core.jobs import JobState
from core.storage import Storage
from tests.support.processes import list_children, read_command, wait_for
from tests.support.service import WorkerProcesses

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
NUM_EPOCHS_LONG = 100  # epochs: a fast machine needs long enough for a test to interrupt it
NUM_EPOCHS_LONGER = 500  # epochs: long enough to send a request while it trains
SECRET = "a-key-that-must-not-be-logged"


class Stack(WorkerProcesses):
    """Each process can be started, killed and started again. The HTTP client does not retry."""

    def __init__(
        self, home: Path, database_url: str, redis_url: str, sessions: SessionFactory, **settings: str
    ) -> None:
        super().__init__(home, database_url, redis_url, sessions)
        self._environment |= {"CANDELA_API_KEYS": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET} | settings
        self.storage: Storage | None = None  # None: the folder in `home`
        self.accepted_defects: set[str] = set()
        self.api: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.maintenance: subprocess.Popen[bytes] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)  # stays open while no API runs
        self._listener.set_inheritable(True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.http = self.create_client()
        self._reference_sha256s: dict[str, str] = {}

    def start_missing(self) -> None:
        """Start the processes that do not run."""
        if self.api is None or self.api.poll() is not None:
            self.start_api()
        if self.worker is None or self.worker.poll() is not None:
            self.worker = self.start_worker()
        if self.maintenance is None or self.maintenance.poll() is not None:
            self.maintenance = self.start_maintenance()
        wait_for(self.is_ready, "the API", 120)

    def start_api(self, **settings: str) -> "subprocess.Popen[bytes]":
        fd = self._listener.fileno()
        self.api = self._start("api", ["-m", "candela.serve", str(fd)], settings, pass_fds=(fd,))
        return self.api

    def create_client(self) -> httpx.Client:
        """Return an HTTP client with the API key."""
        return httpx.Client(base_url=self.url, timeout=60, headers={"Authorization": f"Bearer {SECRET}"})

    def reconnect(self) -> None:
        """Close the connections to an API process that has ended."""
        self.http.close()
        self.http = self.create_client()

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pids(self) -> set[int]:
        """The ids of the running processes."""
        return {process.pid for process in self._processes if process.poll() is None}

    def list_trainer_pids(self) -> list[int]:
        """Return the ids of the running worker's trainers."""
        zygote = self.find_zygote_pid()
        return [] if zygote is None else list_children(zygote)

    def find_zygote_pid(self) -> int | None:
        """Return the id of the process that forks the worker's trainers, if it runs."""
        children = list_children(self.worker.pid) if self.worker is not None else []
        return next((pid for pid in children if b"worker.trainer.zygote" in read_command(pid)), None)

    def close(self) -> None:
        self.stop()
        self.http.close()
        self._listener.close()

    def get_stored_path(self, key: str) -> Path:
        """Return the path of a key in the store."""
        return self.home / "store" / key if self.storage is None else self.storage.fetch_file(key)

    # ---- jobs

    def submit_job(self, **changes: Any) -> str:
        """Submit a tiny job over HTTP, and return its id."""
        response = self.http.post("/v1/jobs", json={**TINY, "name": "tiny", "model": "tiny", **changes})
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    def wait_for_epoch(self, job_id: str, epoch: int = 3) -> int:
        """Wait until the job has reached an epoch, and return the pid of its trainer."""
        row = self.wait_until(
            job_id,
            lambda row: row.state is JobState.RUNNING and row.progress.get("epoch", 0) >= epoch,
            f"epoch {epoch}",
        )
        return int((row.runtime or {})["trainer_pid"])

    def get_weights_sha256(self, job_id: str) -> str:
        """Wait for the end of a job that must succeed, and return the hash of its weights."""
        row = self.wait_for_end(job_id)
        assert row.state is JobState.SUCCEEDED, f"{row.state} {row.failure}\n{self.read_logs()}"
        return self.get_model(job_id).sha256

    def compute_reference_sha256(self, **changes: Any) -> str:
        """Return the hash of the weights of an undisturbed job with these changes."""
        key = json.dumps(changes, sort_keys=True)
        if key not in self._reference_sha256s:
            self._reference_sha256s[key] = self.get_weights_sha256(self.submit_job(**changes))
        return self._reference_sha256s[key]
