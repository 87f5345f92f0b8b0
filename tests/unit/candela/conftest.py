"""A small HTTP server that returns scripted responses."""

import json
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from candela import Client
from candela.cli import main
from candela.rendering import terminal

Run = Callable[..., tuple[int, str, str]]


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    queries: list[tuple[str, str]] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Script:
    """Answers by "METHOD /path"; the last one is given again and again."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, list[Callable[[], Response]]] = field(default_factory=lambda: defaultdict(list))

    def json(self, route: str, body: Any, status: int = 200, **headers: str) -> None:
        self.answers[route].append(lambda: JSONResponse(body, status, headers=headers))

    def problem(self, route: str, status: int, slug: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        body = {"type": f"/problems/{slug}", "title": slug, "status": status, "detail": f"It is {slug}.", **fields}
        self.answers[route].append(lambda: JSONResponse(body, status, headers=headers))

    def stream(self, route: str, text: str, media_type: str = "text/event-stream") -> None:
        self.answers[route].append(lambda: StreamingResponse(iter([text]), media_type=media_type))

    def text(self, route: str, text: str, status: int = 200) -> None:
        self.answers[route].append(lambda: Response(text, status, media_type="text/html"))

    async def answer(self, request: Request) -> Response:
        query, headers = dict(request.query_params), dict(request.headers)
        queries = request.query_params.multi_items()
        self.seen.append(Seen(request.method, request.url.path, query, headers, await request.body(), queries))
        waiting = self.answers[f"{request.method} {request.url.path}"]
        return (waiting.pop(0) if len(waiting) > 1 else waiting[0])()


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", script.answer, methods=methods)])
    listener = socket.create_server(("127.0.0.1", 0))
    script.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield script
    running.should_exit = True
    thread.join()


@pytest.fixture
def client(server: Script) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def job_answer() -> Callable[..., dict[str, Any]]:
    """A job as the server shows it, with the changed fields visible."""

    def build(**changed: Any) -> dict[str, Any]:
        usual = {
            "id": "j1",
            "kind": "train",
            "name": "digits",
            "state": "queued",
            "spec": {},
            "attempt": 0,
            "created_at": "2026-11-23T08:00:00Z",
            "started_at": None,
            "finished_at": None,
            "progress": {},
            "metrics": {},
            "failure": None,
            "stop_reason": None,
            "model": None,
            "transitions": [],
            "parent_id": None,
        }
        return {**usual, **changed}

    return build


@pytest.fixture
def run(
    server: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line against the scripted server: its exit status, standard output and standard error."""
    monkeypatch.setenv("CANDELA_URL", server.url)
    monkeypatch.delenv("CANDELA_API_KEY", raising=False)

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["candela", *map(str, words)])
        monkeypatch.setattr(terminal, "console", Console(highlight=False, width=200))
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return call
