"""Sends a hostile input many times in parallel, from another process, until it is stopped."""

import asyncio
import itertools
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.hostile_requests import INPUTS, HostileInput, HostileRequest

NICENESS = 10
PAUSE_S = 1.0
SEND_TIMEOUT_S = 60.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = SEND_TIMEOUT_S + 30
_READ_BYTES = 2**16


class HostileSenders:
    """A process that sends all requests of an input in parallel, again and again with pauses of a second.

    Real senders use the processors of other machines. Therefore the process has a high niceness.

    Args:
        hostile_input: the input to send.
        url: the base URL of the service.
        job_id: the id of a paused job.
        num_senders: how many requests are sent in parallel, if the input does not say it.
    """

    def __init__(self, hostile_input: HostileInput, url: str, job_id: str, num_senders: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = theirs, hostile_input.name, url, job_id, hostile_input.num_senders or num_senders
        self._process = context.Process(target=_run_process, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        """Wait until the requests are built."""
        self._receive(START_TIMEOUT_S)
        return self

    def start(self) -> None:
        self._pipe.send("start")

    def stop(self) -> Counter[str]:
        """Wait for the responses to all requests that were sent, and return their number by status."""
        self._pipe.send("stop")
        responses = self._receive(STOP_TIMEOUT_S)
        self._process.join(START_TIMEOUT_S)
        return responses

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _receive(self, timeout_s: float) -> Counter[str]:
        if not self._pipe.poll(timeout_s):
            raise TimeoutError(f"the hostile senders did not respond within {timeout_s:g} s")
        message: Counter[str] = self._pipe.recv()
        return message


def _run_process(pipe: Connection, name: str, url: str, job_id: str, num_senders: int) -> None:
    os.nice(NICENESS)
    hostile_input = next(one for one in INPUTS if one.name == name)
    requests = hostile_input.build_requests(job_id)
    pipe.send(Counter())
    pipe.recv()
    pipe.send(asyncio.run(_send_repeatedly(pipe, url, [requests[n % len(requests)] for n in range(num_senders)])))


async def _send_repeatedly(pipe: Connection, url: str, requests: list[HostileRequest]) -> Counter[str]:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), stopped.set)
    responses: Counter[str] = Counter()
    numbers = itertools.count()
    while not stopped.is_set():
        responses.update(await asyncio.gather(*(_send(url, request, next(numbers), stopped) for request in requests)))
        try:
            async with asyncio.timeout(PAUSE_S):
                await stopped.wait()
        except TimeoutError:
            continue
    asyncio.get_running_loop().remove_reader(pipe.fileno())
    return responses


async def _send(url: str, request: HostileRequest, number: int, stopped: asyncio.Event) -> str:
    """Return the status of the response, or what happened instead."""
    host = urlsplit(url)
    try:
        async with asyncio.timeout(None if request.is_stream else SEND_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host.hostname, host.port)
            try:
                received = await _exchange(reader, writer, request.iterate_chunks(host.netloc, number))
                if request.is_stream and received.startswith(b"HTTP/1.1 200"):
                    await stopped.wait()
                else:
                    while await reader.read(_READ_BYTES):
                        pass
                return received[9:12].decode("latin-1") or "closed"
            finally:
                writer.transport.abort()
    except TimeoutError:
        return "no response"
    except OSError:
        return "closed"


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: Iterable[bytes | memoryview]
) -> bytes:
    """Send a request and return the first bytes of the response."""
    receiving = asyncio.create_task(reader.read(_READ_BYTES))
    try:
        for chunk in chunks:
            if receiving.done():  # the request is refused before its end
                break
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:  # the response may have arrived before the service closed the connection
        pass
    except asyncio.CancelledError:
        receiving.cancel()
        raise
    return await receiving
