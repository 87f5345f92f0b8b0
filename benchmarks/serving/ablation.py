"""Measures what each hand-written part of the prediction path saves, by replacing it with the library's own code.

    python -m benchmarks.serving.ablation [--only png,form] [--starts 3] [--rounds 8] [--seconds 1]

Two HTTP processes share one inference process: one with all parts, one with a single part replaced. Both are measured
in turn with 32 keep-alive callers, in short rounds, and started several times: two starts of the same code differ.
`control` replaces nothing: its ratio shows the noise, which hides small savings unless the machine is quiet. A part
stays if the median ratio is at least 1.02. The first run trains the small model. Requires `wrk`.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api import predict_request
from app.api.fast_path import PREDICT
from app.http.asgi import get_header, read_body
from app.http.fast_path import FastPathMiddleware, FastRoute
from app.http.uvicorn_protocol import CoalescingHttpProtocol
from app.main import create_app
from app.oip.fast_path import INFER, INFER_VERSION
from benchmarks.serving import models
from benchmarks.serving.environments import PLACE
from benchmarks.serving.load import Load, run_closed_loop
from benchmarks.serving.models import SMALL
from benchmarks.serving.rounds import cpu_seconds
from benchmarks.serving.servers import Server, find_free_port, run_candela
from candela import serve
from candela.home import Home
from core import png_fast
from core.errors import ServiceError
from core.logging import log_info

CALLERS = 32
MIN_RATIO = 1.02
PATHS = {"base64": "/v2/models/small/infer"} | dict.fromkeys(("image", "form"), "/v1/models/small/predict")
TABLE = """
| part | body | requests/s | ratio: first quartile, **median**, third quartile | CPU time ratio | rounds | decision |
|---|---|--:|--:|--:|--:|---|"""
Loads = tuple[list[Load], list[Load]]  # with all parts, with one part replaced


def replace_everywhere(old: object, new: object) -> None:
    """Replace an object under every name that a module of the service has for it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {"app", "core"}:
            for attribute in [key for key, value in vars(module).items() if value is old]:
                setattr(module, attribute, new)


def use_starlette_form() -> None:
    predict_request.MAX_SIMPLE_FORM_BYTES = 0


def get_starlette_header(scope: Scope, name: bytes) -> str | None:
    return Headers(scope=scope).get(name.decode())


class PredictionRoute(Route):
    """A POST route that leaves requests with a query string to the documented endpoint."""

    def __init__(self, route: FastRoute) -> None:
        handlers = dict.fromkeys((ServiceError, HTTPException), route.handle_error)
        middleware = [Middleware(ExceptionMiddleware, handlers=handlers)]
        super().__init__(route.path, route.endpoint, methods=["POST"], middleware=middleware)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return Match.NONE, {}
        return super().matches(scope)


def use_routes(*, are_first: bool) -> None:
    """Serve without the fast path; with `are_first`, place Starlette routes before those of FastAPI."""

    def create() -> FastAPI:
        service = create_app()
        service.user_middleware = [one for one in service.user_middleware if one.cls is not FastPathMiddleware]
        if are_first:
            service.router.routes[:0] = [PredictionRoute(route) for route in (PREDICT, INFER, INFER_VERSION)]
        return service

    replace_everywhere(create_app, create)


@dataclass(frozen=True)
class Part:
    """A part of the prediction path: what replaces it, and the request bodies that show the difference."""

    use_replacement: Callable[[], None]
    bodies: tuple[str, ...] = ("image",)


PARTS = {
    "control": Part(lambda: None),
    "png": Part(lambda: replace_everywhere(png_fast.decode_simple_png, lambda _body, _max_pixels: None)),
    "form": Part(use_starlette_form, ("form",)),
    "packet": Part(lambda: replace_everywhere(CoalescingHttpProtocol, HttpToolsProtocol)),
    "log": Part(lambda: replace_everywhere(log_info, lambda log, event, fields: log.info(event, **fields))),
    "headers": Part(lambda: replace_everywhere(get_header, get_starlette_header), ("image", "base64")),
    "body": Part(lambda: replace_everywhere(read_body, Request.body)),
    "fast-path": Part(partial(use_routes, are_first=True), ("image", "base64")),
    "fast-path-without-replacement": Part(partial(use_routes, are_first=False)),
}


class Bench:
    """Starts two HTTP processes that share a running service, and compares them."""

    def __init__(self, home: Path, shared: Path, options: argparse.Namespace) -> None:
        self._environment = {
            "CANDELA_HOME": str(home),
            "CANDELA_RENDEZVOUS_DIR": str(shared),
            "CANDELA_REDIS_URL": f"redis+socket://{Home(home).choose_socket_path()}?virtual_host=0",
        }
        self._bodies = models.make_bodies(SMALL)
        self._options = options

    def measure(self, name: str) -> list[str]:
        """Return one row of the table for each body."""
        loads_by_body: dict[str, Loads] = {body: ([], []) for body in PARTS[name].bodies}
        for number in range(self._options.starts):
            with ExitStack() as stack:
                order = 1 if number % 2 else -1
                servers = [self._start(part, stack) for part in ("control", name)[::order]][::order]
                for body, loads in loads_by_body.items():
                    self._compare(body, servers, loads)
        return [_row(name, body, loads) for body, loads in loads_by_body.items()]

    def _start(self, part: str, stack: ExitStack) -> tuple[Server, str]:
        url = f"127.0.0.1:{find_free_port()}"
        command = [sys.executable, "-m", "benchmarks.serving.ablation", "--serve", part, url]
        server = stack.enter_context(Server(f"http-{part}", command, self._environment, PLACE / "runs"))
        body = self._bodies["image"]
        server.wait_until_ready(f"http://{url}{PATHS['image']}", body.path.read_bytes(), body.content_type)
        return server, f"http://{url}"

    def _compare(self, body: str, servers: list[tuple[Server, str]], loads: Loads) -> None:
        for number in range(self._options.rounds + 1):
            for side in (0, 1) if number % 2 else (1, 0):
                server, url = servers[side]
                before = cpu_seconds(server.process.pid)
                load = run_closed_loop(self._bodies[body].to_target(url + PATHS[body]), CALLERS, self._options.seconds)
                used_s = cpu_seconds(server.process.pid) - before
                if number:  # the first round warms up
                    loads[side].append(replace(load, cpu_ms=1e3 * used_s / load.num_responses))


def _row(name: str, body: str, loads: Loads) -> str:
    pairs = list(zip(*loads, strict=True))
    if any(load.num_failed for pair in pairs for load in pair):
        return f"| {name} | {body} | requests failed | | | | |"
    low, middle, high = quantiles([whole.rate / other.rate for whole, other in pairs], n=4)
    cpu, rate = median(other.cpu_ms / whole.cpu_ms for whole, other in pairs), median(load.rate for load in loads[0])
    decision = "" if name == "control" else "stays" if middle >= MIN_RATIO else "remove"
    spread = f"{low:.3f} **{middle:.3f}** {high:.3f}"
    return f"| {name} | {body} | {rate:.0f} | {spread} | {cpu:.3f} | {len(pairs)} | {decision} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--starts", type=int, default=3, help="starts of both HTTP processes")
    parser.add_argument("--rounds", type=int, default=8, help="rounds after each start, at least 2")
    parser.add_argument("--seconds", type=float, default=1, help="length of one measurement")
    parser.add_argument("--serve", nargs=2, metavar=("PART", "ADDRESS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        PARTS[options.serve[0]].use_replacement()
        sys.argv[1:] = options.serve[1:]
        serve.main()
        return
    home, shared = PLACE / "home", PLACE / "http"
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    with run_candela(home, {"CANDELA_RENDEZVOUS_DIR": str(shared)}) as (url, _):
        models.train_if_missing(url, SMALL)
        bench = Bench(home, shared, options)
        print(TABLE, flush=True)
        for name in options.only:
            print("\n".join(bench.measure(name)), flush=True)


if __name__ == "__main__":
    main()
