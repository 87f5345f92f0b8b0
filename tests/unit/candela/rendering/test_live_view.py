"""Without a terminal, one line per epoch."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from candela import Client
from candela.rendering.live_view import LiveJobView, follow_jobs
from candela.types import JobEvent


def event(type_: str, **payload: Any) -> JobEvent:
    return {"id": "1", "type": type_, "payload": payload}


def metrics(epoch: int, **measured: float) -> JobEvent:
    return event("metrics", progress={"epoch": epoch, "epochs": 2}, metrics=measured)


def test_epoch_is_one_line_with_its_validation_metrics() -> None:
    out = io.StringIO()
    view = LiveJobView(Console(file=out, force_terminal=False, width=200))
    for told in (
        event("state", to="running", reason="claimed"),
        metrics(1, train_loss=0.9),
        metrics(1, train_loss=0.8, valid_loss=0.7),
        metrics(2, train_loss=0.6, valid_loss=0.7),
        metrics(2, train_loss=0.5, valid_loss=0.4),
        event("end", state="succeeded"),
    ):
        view.show_event(told)
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()] == [
        "running: claimed",
        "epoch 1/2 valid_loss 0.7 train_loss 0.8",
        "epoch 2/2 valid_loss 0.4 train_loss 0.5",
    ]


def test_every_epoch_is_a_line_at_once_and_progress_is_none() -> None:
    out = io.StringIO()
    view = LiveJobView(Console(file=out, force_terminal=False, width=200))

    def epoch(number: int, **measured: float) -> JobEvent:
        return event("epoch", progress={"epoch": number, "epochs": 2}, metrics=measured)

    for message in (
        event("progress", progress={"epoch": 1, "epochs": 2}, metrics={"train_loss": 0.9}),
        epoch(1, train_loss=0.8, valid_loss=0.7),
        epoch(2, train_loss=0.5, valid_loss=0.4),
    ):
        view.show_event(message)
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()] == [
        "epoch 1/2 valid_loss 0.7 train_loss 0.8",
        "epoch 2/2 valid_loss 0.4 train_loss 0.5",
    ]


class PausingJob:
    """A job at a milestone. Counts how often its state is requested; the first `num_running` times it is running."""

    def __init__(self, number: int, num_running: int = 0) -> None:
        self.id = self.name = f"job-{number}"
        self.num_requests = 0
        self.is_finished = False
        self._num_running = num_running

    def refresh(self) -> "PausingJob":
        self.num_requests += 1
        return self

    @property
    def is_at_milestone(self) -> bool:
        return self.num_requests > self._num_running


def follow(jobs: list[PausingJob], events: list[JobEvent]) -> int:
    """Follow jobs. Return the number of events that were not read, and of requested states."""
    rest = iter(events)
    client: Any = SimpleNamespace(events=lambda _: rest)
    follow_jobs(client, cast("list[Any]", jobs), console=Console(file=io.StringIO(), force_terminal=False))
    return len(list(rest))


def pause(job: PausingJob) -> JobEvent:
    return {**event("state", to="paused", reason="milestone"), "job": job.id}


def test_the_states_of_jobs_are_requested_when_all_are_at_milestones() -> None:
    jobs = [PausingJob(number) for number in range(50)]
    assert follow(jobs, [pause(job) for job in (*jobs, jobs[0])]) == 1
    assert {job.num_requests for job in jobs} == {2}  # once more at the end, for the result


def test_a_job_that_was_resumed_is_followed_to_its_next_milestone() -> None:
    first, second = PausingJob(1), PausingJob(2, num_running=1)
    resumed: JobEvent = {**event("state", to="queued", reason="resumed"), "job": second.id}
    assert follow([first, second], [pause(second), pause(first), resumed, pause(second), pause(first)]) == 1


def test_lines_of_several_jobs_start_with_the_name_of_the_job(
    server: Any, client: Client, job_answer: Callable[..., dict[str, Any]]
) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded"))
    server.json("GET /v1/jobs/j2", job_answer(id="j2", name="ants", state="failed"))
    epoch = '{"epoch": 1, "progress": {"epoch": 1, "epochs": 2}, "metrics": {"train_loss": 0.5}}'
    server.stream(
        "GET /v1/events",
        'id: x\nevent: state\ndata: {"job": "j1", "payload": {"to": "running", "reason": "claimed"}}\n\n'
        f'id: x\nevent: epoch\ndata: {{"job": "j2", "payload": {epoch}}}\n\n'
        'id: x\nevent: progress\ndata: {"job": "j1", "payload": {}}\n\n'
        'id: x\nevent: end\ndata: {"job": "j1", "payload": {"state": "succeeded"}}\n\n'
        'id: x\nevent: end\ndata: {"job": "j2", "payload": {"state": "failed"}}\n\n',
    )
    out = io.StringIO()
    jobs = [client.jobs.get("j1"), client.jobs.get("j2")]
    follow_jobs(client, jobs, console=Console(file=out, force_terminal=False, width=200))
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()] == [
        "digits j1 running: claimed",
        "ants j2 epoch 1/2 train_loss 0.5",
        "digits j1 succeeded",
        "ants j2 failed",
    ]
