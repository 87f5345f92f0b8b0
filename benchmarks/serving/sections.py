"""The measurements. Each section is a function that returns rows of the table."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import settings
from benchmarks.serving.arithmetic import Row, Spread, compute_fair_share, compute_percentile, compute_ratios
from benchmarks.serving.environments import PLACE
from benchmarks.serving.load import Load, Target, read_load, run_closed_loop, start_load
from benchmarks.serving.models import CONV5, SMALL, Body, Model, parse_best_class
from benchmarks.serving.rounds import Side, format_load, make_closed_loop, measure_conditions, measure_in_turn
from benchmarks.serving.servers import PEERS, ROOT, RawForward, Server, ServerStartError
from candela import Client

CALLERS = 32
OVERLOAD = 3
TIMEOUT_S = 10
SWITCH_EVERY_S = 0.25
SAME_WITHIN = 0.05  # maximum difference of the highest probability between servers
LOG = PLACE / "home" / "logs" / "api.log"
Loads = dict[str, list[Load]]


@dataclass(frozen=True)
class Bench:
    """The running service and the options that all sections share."""

    url: str
    pid: int
    dtype: str
    rounds: int
    seconds: float
    bundles: Mapping[str, Path]
    bodies: Mapping[str, Mapping[str, Body]]
    peers: tuple[str, ...]
    bound_s: float | None
    """The maximum prediction time that is configured for this service."""
    log: Callable[[str], None]
    is_quick: bool = False
    tries_all: bool = False

    def build_target(self, model: Model, body: str, ref: str | None = None) -> Target:
        path = "/v2/models/{}/infer" if body in {"tensor", "base64"} else "/v1/models/{}/predict"
        return self.bodies[model.name][body].to_target(self.url + path.format(ref or model.name))

    def build_side(self, target: Target, callers: int) -> Side:
        return Side(make_closed_loop(target, callers), pid=self.pid)


def warm_up(bench: Bench) -> None:
    """Load both models and compute batches of all sizes once."""
    for model in (SMALL, CONV5):
        _predict_best_class(bench, model)
        bench.log(
            f"warming up: {model.name} {format_load(run_closed_loop(bench.build_target(model, 'form'), CALLERS, 2))}"
        )


def measure_throughput(bench: Bench, model: Model) -> list[Row]:
    """Measure all available servers with 32 callers, and the raw forward pass."""
    bench.log(f"{model.name}: {CALLERS} callers, {bench.dtype}")
    mlserver_bodies = ("tensor",) if bench.is_quick else ("tensor", "base64")
    peers = [peer for peer in bench.peers if f"{peer} {model.name}" in settings.FEW_SETTINGS]
    with ExitStack() as stack:
        servers = {name: peer for name in peers if (peer := _start_peer(bench, name, model, stack)) is not None}
        raw = stack.enter_context(RawForward(bench.bundles[model.name], bench.dtype, 0))
        sides = {"candela, form": bench.build_side(bench.build_target(model, "form"), CALLERS)}
        for name, (server, url) in servers.items():
            for body in mlserver_bodies if name == "mlserver" else ("form",):
                target = bench.bodies[model.name][body].to_target(url)
                sides[f"{name}, {body}"] = Side(make_closed_loop(target, CALLERS), server)
        if "mlserver" in servers:
            for body in mlserver_bodies:
                sides[f"candela, {body}"] = bench.build_side(bench.build_target(model, body), CALLERS)
        sides["raw"] = Side(lambda seconds: Load(raw.measure_rate(seconds), 0, 0, 0, 0), raw)
        found = measure_in_turn(sides, bench.rounds, bench.seconds, bench.log)
        lone = _measure_single_caller(bench, model, servers) if model is SMALL else []
    return [*_build_throughput_rows(model, found), *lone]


def _build_throughput_rows(model: Model, found: Loads) -> list[Row]:
    name, ours = model.name.upper(), found["candela, form"]
    targets = {"small litserve": (3.0, 6.0), "small mlserver": (1.5, 2.5), "small torchserve": (1.5, 2.5),
               "conv5 litserve": (1.3, 1.7)}  # fmt: skip
    rows = []
    for side, theirs in found.items():
        peer, _, body = side.partition(", ")
        if peer in PEERS:
            rate = compute_ratios([one.rate for one in found[f"candela, {body}"]], [one.rate for one in theirs])
            target = targets.get(f"{model.name} {peer}", (None, None))
            rows.append(Row(f"{name}, c=32, requests/s relative to {peer} ({body})", rate, *target))
            work = compute_ratios([one.cpu_ms for one in found[f"candela, {body}"]], [one.cpu_ms for one in theirs])
            rows.append(Row(f"{name}, c=32, CPU time per response relative to {peer} ({body})", work))
    share = compute_ratios([one.rate for one in ours], [one.rate for one in found["raw"]])
    rows.append(
        Row(f"{name}, c=32, share of the raw batched forward", share, *((0.75, 0.92) if model is CONV5 else ()))
    )
    tails = compute_ratios([one.p99_ms for one in ours], [one.p50_ms for one in ours])
    rows.append(Row(f"{name}, c=32, p99 / p50", tails, 2.0, 1.5, "lower"))
    for side in (side for side in found if side.startswith("litserve")):
        theirs = compute_ratios([one.p99_ms for one in found[side]], [one.p50_ms for one in found[side]])
        rows.append(Row(f"{name}, c=32, p99 / p50 of LitServe", theirs))
    failed = [float(sum(load.num_failed for load in loads)) for side, loads in found.items() if "candela" in side]
    rows.append(Row(f"{name}, c=32, failed requests", Spread(tuple(failed)), 0, 0, "lower"))
    return rows


def _measure_single_caller(bench: Bench, model: Model, servers: Mapping[str, tuple[Server, str]]) -> list[Row]:
    bench.log(f"{model.name}: 1 caller")
    body = bench.bodies[model.name]["form"]
    sides = {"candela": bench.build_side(bench.build_target(model, "form"), 1)}
    with ExitStack() as stack:
        for number, chosen in enumerate(settings.SINGLE_CALLER_SETTINGS if "litserve" in servers else ()):
            server, url = PEERS["litserve"](bench.bundles[model.name], bench.dtype, chosen)
            stack.enter_context(server)
            server.wait_until_ready(url, body.path.read_bytes(), body.content_type)
            bench.log(f"  litserve-{number}: {chosen}")
            sides[f"litserve-{number}"] = Side(make_closed_loop(body.to_target(url), 1), server)
        for name, (server, url) in servers.items():
            if name == "litserve" or (name != "mlserver" and not bench.is_quick):
                sides[name] = Side(make_closed_loop(body.to_target(url), 1), server)
        found = measure_in_turn(sides, bench.rounds, bench.seconds, bench.log)
    ours, rows = [one.p50_ms for one in found.pop("candela")], []
    if "litserve-0" in found:  # the faster of the two in each round
        found["litserve with settings for one caller"] = [
            min(one, other, key=lambda load: load.p50_ms)
            for one, other in zip(found.pop("litserve-0"), found.pop("litserve-1"), strict=True)
        ]
    for name, theirs in found.items():
        target = (1 / 4, 1 / 8) if (name, model) == ("litserve", SMALL) else (None, None)
        ratio = compute_ratios(ours, [one.p50_ms for one in theirs])
        rows.append(Row(f"{model.name.upper()}, c=1, p50 relative to {name}", ratio, *target, "lower"))
    return rows


def measure_two_models(bench: Bench) -> list[Row]:
    """Measure each model alone with 32 callers, then both concurrently with 32 each."""
    bench.log("two models concurrently")
    targets = {model.name: bench.build_target(model, "form") for model in (SMALL, CONV5)}
    alone: dict[str, list[float]] = {name: [] for name in targets}
    together: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(bench.rounds):
        for name, target in targets.items():
            alone[name].append(run_closed_loop(target, CALLERS, bench.seconds).rate)
        running = {name: start_load(target, CALLERS, bench.seconds) for name, target in targets.items()}
        for name, process in running.items():
            together[name].append(read_load(process, bench.seconds).rate)
        result = ", ".join(
            f"{name} {alone[name][-1]:.0f}/s alone, {together[name][-1]:.0f}/s together" for name in targets
        )
        bench.log(f"  round {number + 1}: {measure_conditions()}: {result}")
    fair_shares = {name: compute_fair_share(together[name], alone[name], len(targets)) for name in targets}
    return [
        Row(
            f"two models concurrently: rate of {name.upper()} relative to half of its rate alone",
            fair_shares[name],
            0.7,
            0.9,
        )
        for name in fair_shares
    ]


def measure_overload(bench: Bench, model: Model) -> list[Row]:
    """Measure an open-loop load of three times the capacity."""
    bench.log(f"{model.name}: {OVERLOAD} times the capacity")
    shares, timeouts, tails, rejection_ms, own_ms, other = [], [], [], [], [], []
    for number in range(bench.rounds):
        alone = run_closed_loop(bench.build_target(model, "form"), CALLERS, bench.seconds)
        capacity = alone.rate
        if not capacity:
            raise RuntimeError(f"{model.name} has no successful response with {CALLERS} callers: {format_load(alone)}")
        logged = LOG.stat().st_size
        result = _run_open_loop(bench.build_target(model, "form"), OVERLOAD * capacity, 2 * bench.seconds)
        own_ms.append(compute_percentile(_read_rejection_times_ms(logged), 0.99))
        bench.log(f"  round {number + 1}: {measure_conditions()}: alone {format_load(alone)}; {json.dumps(result)}")
        shares.append(result["accepted_per_s"] / capacity)
        timeouts.append(float(result["timeouts"]))
        other.append(float(sum(count for status, count in result["statuses"].items() if status not in {"200", "503"})))
        tails.append((result["accepted_p99_ms"] or 0) / 1e3)
        rejection_ms.append(result["rejected_p99_ms"] or 0.0)
    name = f"{model.name.upper()}, overload {OVERLOAD}x"
    rows = [
        Row(f"{name}, successful responses per second relative to capacity", Spread(tuple(shares)), 0.8, 0.95),
        Row(f"{name}, timeouts ({TIMEOUT_S} s)", Spread(tuple(timeouts)), 0, 0, "lower"),
        Row(f"{name}, responses other than 200 and 503", Spread(tuple(other)), 0, 0, "lower"),
        Row(f"{name}, p99 of rejection times in ms, from the service's log", Spread(tuple(own_ms)), 5, 5, "lower"),
        Row(f"{name}, p99 of rejection times in ms, from the scheduled time", Spread(tuple(rejection_ms))),
    ]
    if bench.bound_s is None:
        rows.append(Row(f"{name}, p99 of accepted requests in seconds (no limit is configured)", Spread(tuple(tails))))
    else:
        over = compute_ratios(tails, [bench.bound_s] * len(tails))
        rows.append(
            Row(
                f"{name}, p99 of accepted requests relative to the limit of {bench.bound_s:g} s",
                over,
                1.0,
                0.9,
                "lower",
            )
        )
    return rows


def _read_rejection_times_ms(offset: int) -> list[float]:
    """Return the durations of rejected requests from the service's log, starting at a byte offset or in a new log."""
    with LOG.open() as log:
        log.seek(offset if LOG.stat().st_size >= offset else 0)
        lines = [json.loads(line) for line in log if line.startswith("{") and line.endswith("}\n")]
    return [float(line["milliseconds"]) for line in lines if line.get("status") == 503 and "milliseconds" in line]


def measure_alias_switch(bench: Bench) -> list[Row]:
    """Switch an alias between two versions under load and count failed requests."""
    bench.log("alias switch under load")
    failed, switches = [], []
    for number in range(bench.rounds):
        stop, count = threading.Event(), [0]

        def switch_alias(stop: threading.Event = stop, count: list[int] = count) -> None:
            with Client(bench.url) as client:
                while not stop.wait(SWITCH_EVERY_S):
                    count[0] += 1
                    client.models.set_alias(SMALL.name, "live", 1 + count[0] % 2)

        with Client(bench.url) as client:
            client.models.set_alias(SMALL.name, "live", 1)
        switching = threading.Thread(target=switch_alias)
        switching.start()
        try:
            load = run_closed_loop(bench.build_target(SMALL, "form", "small@live"), CALLERS, 2 * bench.seconds)
        finally:
            stop.set()
            switching.join()
        bench.log(f"  round {number + 1}: {count[0]} switches, {format_load(load)}")
        failed.append(float(load.num_failed))
        switches.append(float(count[0]))
    return [
        Row("alias switch under load: failed requests", Spread(tuple(failed)), 0, 0, "lower"),
        Row("alias switch under load: switches per round", Spread(tuple(switches))),
    ]


def _run_open_loop(target: Target, rate: float, seconds: float) -> dict[str, "float | dict[str, int]"]:
    command = [sys.executable, "-m", "benchmarks.serving.open_loop", target.url, str(target.body), target.content_type]
    command += ["--rate", f"{rate:.1f}", "--seconds", str(seconds), "--timeout", str(TIMEOUT_S)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    return json.loads(output.splitlines()[-1])


def _start_peer(bench: Bench, name: str, model: Model, stack: ExitStack) -> tuple[Server, str] | None:
    """Start a peer and check that its scores equal this service's. Return None if it cannot be started."""
    body = bench.bodies[model.name][settings.PEER_BODIES[name]]
    candidates = settings.list_settings(name) if bench.tries_all else settings.FEW_SETTINGS[f"{name} {model.name}"]
    try:
        chosen = settings.find_fastest(name, model, bench.dtype, body, candidates, bench.log)
    except ServerStartError as error:
        bench.log(f"{name} is skipped: {error}")
        return None
    server, url = PEERS[name](bench.bundles[model.name], bench.dtype, chosen)
    stack.enter_context(server)
    theirs = parse_best_class(server.wait_until_ready(url, body.path.read_bytes(), body.content_type))
    ours = _predict_best_class(bench, model)
    if abs(theirs[1] - ours[1]) > SAME_WITHIN:
        raise RuntimeError(f"{name} returned {theirs}, this service {ours}: the networks differ")
    bench.log(f"  {name}: {chosen}; best class {theirs[0]} {theirs[1]:.4f}, ours {ours[0]} {ours[1]:.4f}")
    return server, url


def _predict_best_class(bench: Bench, model: Model) -> tuple[int, float]:
    with Client(bench.url) as client:
        response = client.models.predict(model.name, bench.bodies[model.name]["image"].path.read_bytes())
    first = response["predictions"][0]
    return int(first["index"]), float(first["probability"])
