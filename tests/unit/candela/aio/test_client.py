"""The asynchronous client against a scripted server: jobs, events, uploads, downloads and several requests at once."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from candela import AsyncClient, JobFailed, Unreachable
from candela.errors import NotFound

JobAnswer = Callable[..., dict[str, Any]]
EVENTS = 'id: 1\nevent: epoch\ndata: {"payload": {"metrics": {"train_loss": 0.5}}}\n\n'
END = 'id: 2\nevent: end\ndata: {"payload": {"state": "succeeded"}}\n\n'


@pytest.fixture
async def client(server: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as client:
        yield client


async def test_a_job_is_submitted_and_awaited(server: Any, client: AsyncClient, job_answer: JobAnswer) -> None:
    server.problem("POST /v1/jobs", 503, "overloaded", headers={"Retry-After": "0"})
    server.json("POST /v1/jobs", job_answer(), 202)
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded", model={"name": "digits", "version": 1}))
    job = await client.jobs.submit({})
    await job.wait()
    assert job.raise_for_failure().model == {"name": "digits", "version": 1}
    keys = [seen.headers["idempotency-key"] for seen in server.seen if seen.method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_a_failed_job_raises(server: Any, client: AsyncClient, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="failed", failure={"message": "The loss is NaN."}))
    job = await client.jobs.get("j1")
    with pytest.raises(JobFailed, match="The loss is NaN"):
        job.raise_for_failure()


async def test_watch_continues_after_a_lost_connection(server: Any, client: AsyncClient, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded"))
    server.stream("GET /v1/jobs/j1/events", EVENTS)
    server.stream("GET /v1/jobs/j1/events", END)
    job = await client.jobs.get("j1")
    assert [event["type"] async for event in job.watch()] == ["epoch", "end"]
    assert job.state == "succeeded"
    assert [seen.headers.get("last-event-id") for seen in server.seen if seen.path.endswith("/events")] == [None, "1"]


async def test_a_watch_can_be_left_early(server: Any, client: AsyncClient, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.stream("GET /v1/jobs/j1/events", EVENTS + END)
    job = await client.jobs.get("j1")
    async with aclosing(job.watch()) as events:
        async for event in events:
            assert event["type"] == "epoch"
            break
    assert (await client.jobs.get("j1")).state == "running"


async def test_pages_are_joined(server: Any, client: AsyncClient, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", {"items": [job_answer(id="a")], "next_cursor": "c1"})
    server.json("GET /v1/jobs", {"items": [job_answer(id="b")], "next_cursor": None})
    assert [job.id async for job in client.jobs.list(tags=["x"])] == ["a", "b"]
    assert server.seen[1].queries == [("tag", "x"), ("cursor", "c1"), ("limit", "200")]


async def test_a_folder_is_uploaded(server: Any, client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.png").write_bytes(b"image")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    sent: list[tuple[int, int]] = []
    await client.datasets.add("pets", tmp_path, progress=lambda done, size: sent.append((done, size)))
    (seen,) = server.seen
    assert zipfile.ZipFile(io.BytesIO(seen.body)).namelist() == ["cat/1.png"]
    assert sent[-1] == (len(seen.body), len(seen.body))


async def test_a_download_is_complete_or_absent(server: Any, client: AsyncClient, tmp_path: Path) -> None:
    route = "GET /v1/models/digits/versions/1/bundle"
    server.stream(route, "zip bytes", "application/zip")
    path = await client.models.download_bundle("digits", 1, tmp_path)
    assert (path.name, path.read_bytes()) == ("digits-1.zip", b"zip bytes")
    with pytest.raises(NotFound):
        server.answers[route].clear()
        server.problem(route, 404, "not-found")
        await client.models.download_bundle("digits", 1, tmp_path / "other.zip")
    assert [each.name for each in tmp_path.iterdir()] == ["digits-1.zip"]


async def test_requests_run_concurrently(server: Any, client: AsyncClient, tmp_path: Path) -> None:
    image = tmp_path / "seven.png"
    image.write_bytes(b"image")
    server.json("POST /v1/models/digits/predict", {"model": {"name": "digits", "version": 1}, "predictions": []})
    responses = await asyncio.gather(*(client.models.predict("digits", image, top_k=1) for _ in range(8)))
    assert len(responses) == len(server.seen) == 8
    assert {seen.body for seen in server.seen} == {b"image"}


async def test_an_unreachable_server_raises(server: Any) -> None:
    async with AsyncClient("http://127.0.0.1:1", max_attempts=1) as client:
        assert not await client.is_ready()
        with pytest.raises(Unreachable, match="`candela up` starts a server"):
            await client.catalog()
