"""Sends HTTP requests with retries, and raises exceptions for problem responses."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from candela.aio.concurrency import run_blocking
from candela.protocol import (
    IDEMPOTENT,
    build_auth_headers,
    compute_wait_s,
    is_temporary,
    omit_unset_params,
    raise_for_problem,
    resolve_base_url,
    translate_errors,
)

DOWNLOAD_BYTES = 2**20


class AsyncTransport:
    """Sends requests to one server through a connection pool, and retries repeatable requests.

    Args:
        base_url: URL of the server; default: `CANDELA_URL`, else http://127.0.0.1:8000.
        api_key: API key; default: `CANDELA_API_KEY`.
        timeout_s: maximum seconds for connecting and for each read.
        max_attempts: maximum number of attempts of a repeatable request, which is retried after connection errors and
            responses with status 429 or 503.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, *, timeout_s: float = 30.0, max_attempts: int = 5
    ) -> None:
        self.base_url = resolve_base_url(base_url)
        headers = build_auth_headers(api_key)
        with translate_errors(self.base_url):
            self.http = httpx.AsyncClient(base_url=self.base_url, headers=headers, timeout=timeout_s)
        self._max_attempts = max_attempts

    async def close(self) -> None:
        await self.http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        **options: Any,  # noqa: ANN401 - httpx's own options
    ) -> httpx.Response:
        """Send a request and return the response.

        Args:
            method: an HTTP method.
            path: path of the URL, for example `/v1/jobs`.
            repeatable: whether the request may be retried; default: True for idempotent methods, else False.
            **options: `params`, `json`, `content`, `files`, `headers` and `timeout` of httpx. Parameters that are None
                are left out.

        Raises:
            ProblemError: the server responded with an error.
            Unreachable: the server did not respond, or the connection was lost.
        """
        may_repeat = method in IDEMPOTENT if repeatable is None else repeatable
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._max_attempts),
            wait=compute_wait_s,
            retry=retry_if_exception(lambda error: may_repeat and is_temporary(error)),
            reraise=True,
        )
        return await retrying(self._send, method, path, omit_unset_params(options))

    async def request_json(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        **options: Any,  # noqa: ANN401 - httpx's own options
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request and return the decoded JSON of the response; None if the body is empty."""
        response = await self.request(method, path, repeatable=repeatable, **options)
        return response.json() if response.content else None

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:  # noqa: ANN401 - httpx's own options
        """Send a request without retries, and return a response whose body is read as a stream."""
        with translate_errors(self.base_url):
            async with self.http.stream(method, path, **omit_unset_params(options)) as response:
                if response.is_error:
                    await response.aread()
                yield raise_for_problem(response)

    async def download(
        self,
        url: str,
        path: str | os.PathLike[str],
        name: str,
        *,
        progress: Callable[[int], None] | None = None,
        **options: Any,  # noqa: ANN401 - httpx's own options
    ) -> Path:
        """Download a file completely or not at all, and return its path.

        Args:
            url: path of the URL.
            path: the file to write, or an existing folder, in which the file is called `name`.
            name: name of the file in a folder.
            progress: function that is called with the number of received bytes.
            **options: options of httpx.
        """
        target = Path(path) / name if Path(path).is_dir() else Path(path)
        part = target.with_name(target.name + ".part")
        try:
            async with self.stream("GET", url, **options) as response:
                with await run_blocking(part.open, "wb") as file:
                    async for chunk in response.aiter_bytes(DOWNLOAD_BYTES):
                        await run_blocking(file.write, chunk)
                        if progress is not None:
                            progress(file.tell())
            part.replace(target)  # a rename, so that other processes never read an incomplete file
        finally:
            part.unlink(missing_ok=True)
        return target

    async def _send(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        with translate_errors(self.base_url):
            return raise_for_problem(await self.http.request(method, path, **options))
