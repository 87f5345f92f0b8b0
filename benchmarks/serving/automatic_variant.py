"""Compares predictions over HTTP with `CANDELA_PREDICT_VARIANT=auto` and with the network as trained.

    python -m benchmarks.serving.automatic_variant [--rounds 5] [--seconds 4] [--models small conv5]

A service of its own trains the models of `models.py` on synthetic images and chooses their variants. Then requests that
name no variant and requests with `?variant=none` are sent to the same service in turn, from 32 callers and from one.
Prints the candidates, and the ratios of the rates: minimum, median and maximum over the rounds.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx

from benchmarks.serving.load import Load
from benchmarks.serving.models import JOB_WITHIN_S, MODELS, Model, make_bodies, train_if_missing
from benchmarks.serving.rounds import Side, make_closed_loop, measure_conditions, measure_in_turn
from benchmarks.serving.servers import run_candela
from candela import Client

CALLERS = (32, 1)
NETWORK, DEFAULT = "network", "default"


def list_candidates(url: str) -> list[str]:
    """Wait for the jobs that choose the variants, and return one line per candidate."""
    with Client(url) as client:
        return [
            f"{job.name}: {candidate['format']} {candidate['outcome']}, ratio {candidate['speed_ratio']}"
            for job in client.jobs.list(kind="variant")
            for candidate in (job.wait(JOB_WITHIN_S).raise_for_failure().result or {})["candidates"]
        ]


def measure_model(url: str, pid: int, model: Model, options: argparse.Namespace) -> Iterator[str]:
    """Yield one line per number of callers."""
    body = make_bodies(model)["form"]
    address = f"{url}/v1/models/{model.name}/predict"
    response = httpx.post(address, content=body.path.read_bytes(), headers={"Content-Type": body.content_type})
    yield f"{model.name}: {response.json()['model']}"
    for callers in CALLERS:
        targets = {NETWORK: body.to_target(f"{address}?variant=none"), DEFAULT: body.to_target(address)}
        sides = {name: Side(make_closed_loop(target, callers), pid=pid) for name, target in targets.items()}
        loads = measure_in_turn(sides, options.rounds, options.seconds, print)
        failed = sum(load.num_failed for side in loads.values() for load in side)
        yield f"{model.name}, c={callers}: {compare_rates(loads[NETWORK], loads[DEFAULT])}, {failed} failed"


def compare_rates(network: list[Load], default: list[Load]) -> str:
    rates = [after.rate / before.rate for before, after in zip(network, default, strict=True)]
    cpu = median(after.cpu_ms / before.cpu_ms for before, after in zip(network, default, strict=True))
    return f"rate {min(rates):.2f} {median(rates):.2f} {max(rates):.2f}, CPU time {cpu:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    options = parser.parse_args()
    lines: list[str] = []
    with (
        tempfile.TemporaryDirectory() as home,
        run_candela(Path(home), os.environ | {"CANDELA_PREDICT_VARIANT": "auto"}) as (url, pid),
    ):
        chosen = [MODELS[name] for name in options.models]
        for model in chosen:
            train_if_missing(url, model)
        lines += list_candidates(url)
        print(measure_conditions())
        for model in chosen:
            lines += measure_model(url, pid, model, options)
        print(measure_conditions())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
