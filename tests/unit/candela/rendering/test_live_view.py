"""Without a terminal, one line per epoch."""

import io
from collections.abc import Callable
from typing import Any

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
