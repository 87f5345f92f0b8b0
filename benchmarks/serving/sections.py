"""The measurements, one function a group of the table's rows; each is given what runs and answers with rows."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import settings
from benchmarks.serving.arithmetic import Row, Spread, keeps, percentile, ratios
from benchmarks.serving.environments import PLACE
from benchmarks.serving.load import Load, Target, closed_loop, read, start
from benchmarks.serving.models import CONV5, SMALL, Body, Model, best_class
from benchmarks.serving.rounds import Side, calling, conditions, in_turn, told
from benchmarks.serving.servers import PEERS, ROOT, NotStarted, Raw, Server
from candela import Client

CALLERS = 32
OVERLOAD = 3
PATIENCE_S = 10
SWITCH_EVERY_S = 0.25
SAME_WITHIN = 0.05  # of the most probable class, between servers
LOG = PLACE / "home" / "logs" / "api.log"
Loads = dict[str, list[Load]]


@dataclass(frozen=True)
class Bench:
    """What every section needs."""

    url: str
    pid: int
    dtype: str
    rounds: int
    seconds: float
    bundles: Mapping[str, Path]
    bodies: Mapping[str, Mapping[str, Body]]
    peers: tuple[str, ...]
    bound_s: float | None
    """How long an accepted request may take, as this service was told."""
    say: Callable[[str], None]
    is_quick: bool = False
    tries_all: bool = False

    def ours(self, model: Model, body: str, ref: str | None = None) -> Target:
        path = "/v2/models/{}/infer" if body in {"tensor", "base64"} else "/v1/models/{}/predict"
        return self.bodies[model.name][body].to(self.url + path.format(ref or model.name))

    def side(self, target: Target, callers: int) -> Side:
        return Side(calling(target, callers), pid=self.pid)


def warm_up(bench: Bench) -> None:
    """Have both networks in memory, and batches of all sizes computed once."""
    for model in (SMALL, CONV5):
        _own_answer(bench, model)
        bench.say(f"warming up: {model.name} {told(closed_loop(bench.ours(model, 'form'), CALLERS, 2))}")


def throughput(bench: Bench, model: Model) -> list[Row]:
    """32 callers, every server that is there, and the bare forward."""
    bench.say(f"{model.name}: {CALLERS} callers, {bench.dtype}")
    of_mlserver = ("tensor",) if bench.is_quick else ("tensor", "base64")
    peers = [peer for peer in bench.peers if f"{peer} {model.name}" in settings.FEW]
    with ExitStack() as stack:
        servers = {name: peer for name in peers if (peer := _peer(bench, name, model, stack)) is not None}
        raw = stack.enter_context(Raw(bench.bundles[model.name], bench.dtype, 0))
        sides = {"candela, form": bench.side(bench.ours(model, "form"), CALLERS)}
        for name, (server, url) in servers.items():
            for body in of_mlserver if name == "mlserver" else ("form",):
                target = bench.bodies[model.name][body].to(url)
                sides[f"{name}, {body}"] = Side(calling(target, CALLERS), server)
        if "mlserver" in servers:
            for body in of_mlserver:
                sides[f"candela, {body}"] = bench.side(bench.ours(model, body), CALLERS)
        sides["raw"] = Side(lambda seconds: Load(raw.rate(seconds), 0, 0, 0, 0), raw)
        found = in_turn(sides, bench.rounds, bench.seconds, bench.say)
        lone = _lone(bench, model, servers) if model is SMALL else []
    return [*_throughput_rows(model, found), *lone]


def _throughput_rows(model: Model, found: Loads) -> list[Row]:
    name, ours = model.name.upper(), found["candela, form"]
    targets = {"small litserve": (3.0, 6.0), "small mlserver": (1.5, 2.5), "small torchserve": (1.5, 2.5),
               "conv5 litserve": (1.3, 1.7)}  # fmt: skip
    rows = []
    for side, theirs in found.items():
        peer, _, body = side.partition(", ")
        if peer in PEERS:
            rate = ratios([one.rate for one in found[f"candela, {body}"]], [one.rate for one in theirs])
            target = targets.get(f"{model.name} {peer}", (None, None))
            rows.append(Row(f"{name}, c=32, over {peer} ({body})", rate, *target))
            work = ratios([one.cpu_ms for one in found[f"candela, {body}"]], [one.cpu_ms for one in theirs])
            rows.append(Row(f"{name}, c=32, processor time an answer over {peer}'s ({body})", work))
    share = ratios([one.rate for one in ours], [one.rate for one in found["raw"]])
    rows.append(
        Row(f"{name}, c=32, share of the raw batched forward", share, *((0.75, 0.92) if model is CONV5 else ()))
    )
    tails = ratios([one.p99_ms for one in ours], [one.p50_ms for one in ours])
    rows.append(Row(f"{name}, c=32, p99 / p50", tails, 2.0, 1.5, "lower"))
    for side in (side for side in found if side.startswith("litserve")):
        theirs = ratios([one.p99_ms for one in found[side]], [one.p50_ms for one in found[side]])
        rows.append(Row(f"{name}, c=32, p99 / p50 of LitServe", theirs))
    failed = [float(sum(load.num_failed for load in loads)) for side, loads in found.items() if "candela" in side]
    rows.append(Row(f"{name}, c=32, failed requests of ours", Spread(tuple(failed)), 0, 0, "lower"))
    return rows


def _lone(bench: Bench, model: Model, servers: Mapping[str, tuple[Server, str]]) -> list[Row]:
    bench.say(f"{model.name}: 1 caller")
    body = bench.bodies[model.name]["form"]
    sides = {"candela": bench.side(bench.ours(model, "form"), 1)}
    with ExitStack() as stack:
        for number, chosen in enumerate(settings.LONE if "litserve" in servers else ()):
            server, url = PEERS["litserve"](bench.bundles[model.name], bench.dtype, chosen)
            stack.enter_context(server)
            server.wait_until_answers(url, body.path.read_bytes(), body.content_type)
            bench.say(f"  litserve-{number}: {chosen}")
            sides[f"litserve-{number}"] = Side(calling(body.to(url), 1), server)
        for name, (server, url) in servers.items():
            if name == "litserve" or (name != "mlserver" and not bench.is_quick):
                sides[name] = Side(calling(body.to(url), 1), server)
        found = in_turn(sides, bench.rounds, bench.seconds, bench.say)
    ours, rows = [one.p50_ms for one in found.pop("candela")], []
    if "litserve-0" in found:  # the quicker of the two, in each round
        found["litserve, set for one caller"] = [
            min(one, other, key=lambda load: load.p50_ms)
            for one, other in zip(found.pop("litserve-0"), found.pop("litserve-1"), strict=True)
        ]
    for name, theirs in found.items():
        target = (1 / 4, 1 / 8) if (name, model) == ("litserve", SMALL) else (None, None)
        ratio = ratios(ours, [one.p50_ms for one in theirs])
        rows.append(Row(f"{model.name.upper()}, c=1, p50 over {name}'s", ratio, *target, "lower"))
    return rows


def two_models(bench: Bench) -> list[Row]:
    """Each alone with 32 callers, then both at once with 32 each."""
    bench.say("two models at once")
    targets = {model.name: bench.ours(model, "form") for model in (SMALL, CONV5)}
    alone: dict[str, list[float]] = {name: [] for name in targets}
    together: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(bench.rounds):
        for name, target in targets.items():
            alone[name].append(closed_loop(target, CALLERS, bench.seconds).rate)
        running = {name: start(target, CALLERS, bench.seconds) for name, target in targets.items()}
        for name, process in running.items():
            together[name].append(read(process, bench.seconds).rate)
        said = ", ".join(f"{name} {alone[name][-1]:.0f}/s alone, {together[name][-1]:.0f}/s beside" for name in targets)
        bench.say(f"  round {number + 1}: {conditions()}: {said}")
    kept = {name: keeps(together[name], alone[name], len(targets)) for name in targets}
    return [
        Row(f"two models at once: {name.upper()} keeps of half its solo rate", kept[name], 0.7, 0.9) for name in kept
    ]


def overload(bench: Bench, model: Model) -> list[Row]:
    """Three times as many requests a second as it can answer, from callers that do not wait for one another."""
    bench.say(f"{model.name}: {OVERLOAD} times its capacity")
    shares, late, tails, refusals, own, lost = [], [], [], [], [], []
    for number in range(bench.rounds):
        alone = closed_loop(bench.ours(model, "form"), CALLERS, bench.seconds)
        capacity = alone.rate
        if not capacity:
            raise RuntimeError(f"{model.name} answers nothing at {CALLERS} callers: {told(alone)}")
        logged = LOG.stat().st_size
        said = _open_loop(bench.ours(model, "form"), OVERLOAD * capacity, 2 * bench.seconds)
        own.append(percentile(_refused_ms(logged), 0.99))
        bench.say(f"  round {number + 1}: {conditions()}: alone {told(alone)}; {json.dumps(said)}")
        shares.append(said["good_a_second"] / capacity)
        late.append(float(said["timeouts"]))
        lost.append(float(sum(count for status, count in said["statuses"].items() if status not in {"200", "503"})))
        tails.append((said["good_p99_ms"] or 0) / 1e3)
        refusals.append(said["refused_p99_ms"] or 0.0)
    name = f"{model.name.upper()}, overload {OVERLOAD}x"
    rows = [
        Row(f"{name}, good answers a second over capacity", Spread(tuple(shares)), 0.8, 0.95),
        Row(f"{name}, time-outs ({PATIENCE_S} s)", Spread(tuple(late)), 0, 0, "lower"),
        Row(f"{name}, answers that are neither 200 nor 503", Spread(tuple(lost)), 0, 0, "lower"),
        Row(f"{name}, ms until a refusal is told, p99, by the service's log", Spread(tuple(own)), 5, 5, "lower"),
        Row(f"{name}, ms until a refusal is heard, p99, by the caller's plan", Spread(tuple(refusals))),
    ]
    if bench.bound_s is None:
        rows.append(Row(f"{name}, seconds, p99 of accepted (no bound is configured)", Spread(tuple(tails))))
    else:
        over = ratios(tails, [bench.bound_s] * len(tails))
        rows.append(Row(f"{name}, p99 of accepted over the bound of {bench.bound_s:g} s", over, 1.0, 0.9, "lower"))
    return rows


def _refused_ms(begin: int) -> list[float]:
    """How long each refusal took, by the service's log from that byte on; a log that was begun anew is read whole."""
    with LOG.open() as log:
        log.seek(begin if LOG.stat().st_size >= begin else 0)
        lines = [json.loads(line) for line in log if line.startswith("{") and line.endswith("}\n")]
    return [float(line["milliseconds"]) for line in lines if line.get("status") == 503 and "milliseconds" in line]


def alias_switch(bench: Bench) -> list[Row]:
    """An alias goes to and fro between two versions under load."""
    bench.say("alias switch under load")
    failed, switches = [], []
    for number in range(bench.rounds):
        stop, count = threading.Event(), [0]

        def switch(stop: threading.Event = stop, count: list[int] = count) -> None:
            with Client(bench.url) as client:
                while not stop.wait(SWITCH_EVERY_S):
                    count[0] += 1
                    client.models.alias(SMALL.name, "live", 1 + count[0] % 2)

        with Client(bench.url) as client:
            client.models.alias(SMALL.name, "live", 1)
        switching = threading.Thread(target=switch)
        switching.start()
        try:
            load = closed_loop(bench.ours(SMALL, "form", "small@live"), CALLERS, 2 * bench.seconds)
        finally:
            stop.set()
            switching.join()
        bench.say(f"  round {number + 1}: {count[0]} switches, {told(load)}")
        failed.append(float(load.num_failed))
        switches.append(float(count[0]))
    return [
        Row("alias switch under load: failed requests", Spread(tuple(failed)), 0, 0, "lower"),
        Row("alias switch under load: switches a round", Spread(tuple(switches))),
    ]


def _open_loop(target: Target, rate: float, seconds: float) -> dict[str, "float | dict[str, int]"]:
    command = [sys.executable, "-m", "benchmarks.serving.open_loop", target.url, str(target.body), target.content_type]
    command += ["--rate", f"{rate:.1f}", "--seconds", str(seconds), "--patience", str(PATIENCE_S)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    return json.loads(said.splitlines()[-1])


def _peer(bench: Bench, name: str, model: Model, stack: ExitStack) -> tuple[Server, str] | None:
    """A peer that answers, and answers the same as this service does; None where it cannot be started."""
    body = bench.bodies[model.name][settings.BODY_OF[name]]
    candidates = settings.every(name) if bench.tries_all else settings.FEW[f"{name} {model.name}"]
    try:
        chosen = settings.quickest(name, model, bench.dtype, body, candidates, bench.say)
    except NotStarted as error:
        bench.say(f"{name} is left out: {error}")
        return None
    server, url = PEERS[name](bench.bundles[model.name], bench.dtype, chosen)
    stack.enter_context(server)
    theirs = best_class(server.wait_until_answers(url, body.path.read_bytes(), body.content_type))
    ours = _own_answer(bench, model)
    if abs(theirs[1] - ours[1]) > SAME_WITHIN:
        raise RuntimeError(f"{name} answers {theirs}, this service {ours}: they do not run the same network")
    bench.say(f"  {name}: {chosen}; best class {theirs[0]} {theirs[1]:.4f}, ours {ours[0]} {ours[1]:.4f}")
    return server, url


def _own_answer(bench: Bench, model: Model) -> tuple[int, float]:
    with Client(bench.url) as client:
        answer = client.models.predict(model.name, bench.bodies[model.name]["picture"].path.read_bytes())
    first = answer["predictions"][0]
    return int(first["index"]), float(first["probability"])
