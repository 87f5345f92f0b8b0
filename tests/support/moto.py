"""A second S3 server for tests: moto, in a thread of the test run. It is independent of SeaweedFS."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

BUCKET = "candela"


class MotoServer:
    """A server that stores everything in memory and accepts every key."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._count = 0

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return the environment variables of a client, like `S3Server.environment`."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
        }

    def new_url(self) -> str:
        """Return an unused prefix of the bucket."""
        self._count += 1
        return f"s3://{BUCKET}/test-{self._count}"


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """Run a server and create its bucket."""
    from moto.server import ThreadedMotoServer  # imported here because it is slow and few tests use it

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()
        yield MotoServer(endpoint)
    finally:
        server.stop()
