"""A second S3 for tests: moto's server in a thread of the test run, with another author's reading of the protocol."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

BUCKET = "candela"


class MotoServer:
    """Everything is kept in memory; any key is accepted."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._count = 0

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """As that of `S3Server`."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
        }

    def new_url(self) -> str:
        """A prefix that nobody has used."""
        self._count += 1
        return f"s3://{BUCKET}/test-{self._count}"


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """A running server with the bucket made."""
    from moto.server import ThreadedMotoServer  # slow to import, and wanted by few tests

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()
        yield MotoServer(endpoint)
    finally:
        server.stop()
