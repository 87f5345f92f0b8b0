"""Finds the fastest settings of each peer. Every run searches again."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.serving.environments import PLACE
from benchmarks.serving.models import Body, Model
from benchmarks.serving.rounds import Side, make_closed_loop, measure_in_turn
from benchmarks.serving.servers import PEERS, Settings

PEER_BODIES = {"litserve": "form", "torchserve": "form", "bentoml": "form", "mlserver": "tensor"}
CALLERS = 32
ROUNDS, SECONDS = 2, 2.0
MAX_SERVERS = 6  # that run concurrently

FEW_SETTINGS: dict[str, list[Settings]] = {
    "litserve small": [
        Settings(threads=1, timeout_s=0.005),
        Settings(threads=1, timeout_s=0.02),
        Settings(threads=1, timeout_s=0.02, fast_queue=True),
        Settings(threads=2, timeout_s=0.05),
    ],
    "litserve conv5": [
        Settings(threads=1, timeout_s=0.02),
        Settings(threads=2, timeout_s=0.02),
        Settings(threads=2, timeout_s=0.05),
    ],
    "mlserver small": [
        Settings(threads=1, workers=0, timeout_s=0.001),
        Settings(threads=1, workers=0, timeout_s=0.01),
        Settings(threads=1, workers=1, timeout_s=0.01),
    ],
    "torchserve small": [Settings(threads=1, timeout_s=0.001), Settings(threads=1, timeout_s=0.02)],
    # BentoML rejects requests that would wait longer than its batch timeout.
    "bentoml small": [Settings(threads=1, timeout_s=1.0)],
}
SINGLE_CALLER_SETTINGS = [Settings(threads=1, timeout_s=0.0005, fast_queue=fast) for fast in (False, True)]
"""LitServe's settings for one caller. With those for 32 callers, it would wait for a batch that never fills."""
WORKERS = {"mlserver": (0, 1), "bentoml": (1,)}
TIMEOUTS_S = {"bentoml": (1.0,)}


def list_settings(peer: str) -> list[Settings]:
    """Return all combinations that are useful on two cores."""
    axes = itertools.product(
        (1, 2),
        WORKERS.get(peer, (1, 2)),
        (16, 32),
        TIMEOUTS_S.get(peer, (0.001, 0.005, 0.02, 0.05)),
        (False, True) if peer == "litserve" else (False,),
    )
    return [Settings(*values) for values in axes]


def find_fastest(
    peer: str, model: Model, dtype: str, body: Body, candidates: Sequence[Settings], log: Callable[[str], None]
) -> Settings:
    """Return the settings with the highest rate for 32 callers. They run in groups; the best joins the next group."""
    left, best = list(candidates), list[Settings]()
    while left:
        group, left = [*best, *left[: MAX_SERVERS - len(best)]], left[MAX_SERVERS - len(best) :]
        best = [group[0]] if len(group) == 1 else [_compare_settings(peer, model, dtype, body, group, log)]
    return best[0]


def _compare_settings(
    peer: str, model: Model, dtype: str, body: Body, group: Sequence[Settings], log: Callable[[str], None]
) -> Settings:
    with ExitStack() as stack:
        started = [PEERS[peer](PLACE / "bundles" / model.name, dtype, one) for one in group]
        for server, _ in started:
            stack.enter_context(server)
        sides = {}
        for number, (server, url) in enumerate(started):
            server.wait_until_ready(url, body.path.read_bytes(), body.content_type)
            sides[str(number)] = Side(make_closed_loop(body.to_target(url), CALLERS), server)
        found = measure_in_turn(sides, ROUNDS, SECONDS, lambda _: None)
    rates = {number: median(load.rate * (not load.num_failed) for load in loads) for number, loads in found.items()}
    for number, rate in rates.items():
        log(f"  {peer} {model.name}: {rate:.0f}/s with {group[int(number)]}")
    return group[int(max(rates, key=lambda number: rates[number]))]
