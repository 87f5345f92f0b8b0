"""The API as a process that serves a few real models, without worker and queue, for fault and load tests."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from core.db.session import SessionFactory, make_engine, make_session_factory
from core.storage import LocalStorage
from tests.support import bundles
from tests.support.images import random_png
from tests.support.processes import die_with_parent, end, is_alive, wait_for

ROOT = Path(__file__).resolve().parents[2]
SLOW: dict[str, Any] = {  # an image takes long enough for other requests to queue, also on a fast machine
    "architecture": {"name": "convnet", "options": {"channels": [192, 192], "kernel": 7}},
    "image_shape": (1, 128, 128),
}
IMAGE = random_png(1, height=8, width=8)


class ApiProcess:
    """Models `small` (versions 1 and 2, `champion` is 1), `slow`, `nan`, `broken`, `many-0` to `many-4`."""

    def __init__(self, home: Path, database: Path, redis_url: str, **settings: str) -> None:
        url = f"sqlite:///{shutil.copy(database, home / 'candela.db')}"
        self.home = home
        self._engine = make_engine(url)
        self.sessions: SessionFactory = make_session_factory(self._engine)
        self.storage = LocalStorage.open_folder(str(home / "store"))
        self._register()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.set_inheritable(True)
        self.address = self._listener.getsockname()[:2]
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.http = httpx.Client(base_url=self.url, timeout=60)
        environment = {
            **os.environ,
            "CANDELA_HOME": str(home),
            "CANDELA_DATABASE_URL": url,
            "CANDELA_REDIS_URL": redis_url,
            "CANDELA_MAX_LOADED_MODELS": "3",
            "CANDELA_MAX_BATCH_SIZE": "8",
            "CANDELA_MAX_PREDICT_WAIT_S": "3",
            **settings,
        }
        with (home / "api.log").open("wb") as log:
            self.api = subprocess.Popen(
                [sys.executable, "-m", "candela.serve", str(self._listener.fileno())],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
                pass_fds=(self._listener.fileno(),),
            )
        wait_for(self.is_ready, "the API", 120)

    def _register(self) -> None:
        for version in (1, 2):
            bundles.register_model(self.sessions, self.storage, "small", version, seed=version)
        bundles.set_alias(self.sessions, "small", "champion", 1)
        bundles.register_model(self.sessions, self.storage, "slow", 1, **SLOW)
        bundles.register_model(self.sessions, self.storage, "broken", 1)
        path = self.storage.fetch_file("jobs/broken-1/bundle/weights.safetensors")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        for number in range(5):
            bundles.register_model(self.sessions, self.storage, f"many-{number}", 1, seed=number)
        bundles.register_model(self.sessions, self.storage, "nan", 1, mean=[-3e38], std=[1e-5])

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def get_inference_pid(self) -> int:
        """Return the pid of the inference process."""
        return int(self.http.get("/v1/system").json()["inference"][0]["pid"])

    def predict(self, model: str = "small", content: bytes = IMAGE, **headers: str) -> httpx.Response:
        fields = {"Content-Type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.http.post(f"/v1/models/{model}/predict", content=content, headers=fields)

    def sum_metric(self, metric: str, **labels: str) -> float:
        """Return the sum of a metric over all series with these labels."""
        text = self.http.get("/metrics").text
        rows = re.findall(rf"^{metric}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        matchers = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(float(value) for series, value in rows if all(matcher in series for matcher in matchers))

    def count_open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.api.pid}/fd").iterdir())

    def get_rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.api.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def close(self) -> None:
        networks = self.get_inference_pid() if self.is_ready() else 0
        end(self.api)
        self.http.close()
        self._listener.close()
        self.storage.close()
        self._engine.dispose()
        if networks:
            wait_for(lambda: not is_alive(networks), "the end of the networks' process")


@contextmanager
def run_api_process(home: Path, database: Path, redis_url: str, **settings: str) -> Iterator[ApiProcess]:
    running = ApiProcess(home, database, redis_url, **settings)
    try:
        yield running
    finally:
        running.close()
