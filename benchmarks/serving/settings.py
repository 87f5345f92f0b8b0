"""The peers at their best: the settings that are tried, and the quickest of them found anew in every run."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.serving.environments import PLACE
from benchmarks.serving.models import Body, Model
from benchmarks.serving.rounds import Side, calling, in_turn
from benchmarks.serving.servers import PEERS, Settings

BODY_OF = {"litserve": "form", "torchserve": "form", "bentoml": "form", "mlserver": "tensor"}
CALLERS = 32
ROUNDS, SECONDS = 2, 2.0
AT_ONCE = 6  # servers in memory

FEW: dict[str, list[Settings]] = {
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
    # It refuses what would wait for longer than its batch timeout.
    "bentoml small": [Settings(threads=1, timeout_s=1.0)],
}
LONE = [Settings(threads=1, timeout_s=0.0005, fast_queue=fast) for fast in (False, True)]
"""LitServe's for one caller, which what is best for 32 makes wait for nothing."""
WORKERS = {"mlserver": (0, 1), "bentoml": (1,)}
TIMEOUTS_S = {"bentoml": (1.0,)}


def every(peer: str) -> list[Settings]:
    """All combinations that make sense on two cores."""
    axes = itertools.product(
        (1, 2),
        WORKERS.get(peer, (1, 2)),
        (16, 32),
        TIMEOUTS_S.get(peer, (0.001, 0.005, 0.02, 0.05)),
        (False, True) if peer == "litserve" else (False,),
    )
    return [Settings(*values) for values in axes]


def quickest(
    peer: str, model: Model, dtype: str, body: Body, candidates: Sequence[Settings], say: Callable[[str], None]
) -> Settings:
    """The settings with the highest rate at 32 callers, tried in turn; the best of some meets the next ones."""
    left, best = list(candidates), list[Settings]()
    while left:
        group, left = [*best, *left[: AT_ONCE - len(best)]], left[AT_ONCE - len(best) :]
        best = [group[0]] if len(group) == 1 else [_quickest(peer, model, dtype, body, group, say)]
    return best[0]


def _quickest(
    peer: str, model: Model, dtype: str, body: Body, group: Sequence[Settings], say: Callable[[str], None]
) -> Settings:
    with ExitStack() as stack:
        started = [PEERS[peer](PLACE / "bundles" / model.name, dtype, one) for one in group]
        for server, _ in started:
            stack.enter_context(server)
        sides = {}
        for number, (server, url) in enumerate(started):
            server.wait_until_answers(url, body.path.read_bytes(), body.content_type)
            sides[str(number)] = Side(calling(body.to(url), CALLERS), server)
        found = in_turn(sides, ROUNDS, SECONDS, lambda _: None)
    rates = {number: median(load.rate * (not load.num_failed) for load in loads) for number, loads in found.items()}
    for number, rate in rates.items():
        say(f"  {peer} {model.name}: {rate:.0f}/s with {group[int(number)]}")
    return group[int(max(rates, key=lambda number: rates[number]))]
