"""The peers at their best: which settings are tried, and which were the quickest on this machine."""

import itertools
import json
from collections.abc import Callable, Iterator

from benchmarks.serving.environments import PLACE
from benchmarks.serving.load import closed_loop
from benchmarks.serving.models import Body, Model
from benchmarks.serving.servers import PEERS

BEST = PLACE / "best.json"
BODY_OF = {"litserve": "form", "torchserve": "form", "bentoml": "form", "mlserver": "tensor"}
Settings = dict[str, str]

# Where nothing has been tried: what was best when the list was made.
USUAL: dict[str, Settings] = {
    "litserve": {"BENCH_THREADS": "1", "BENCH_MAX_BATCH_SIZE": "32", "BENCH_BATCH_TIMEOUT_S": "0.005"},
    "mlserver": {"BENCH_THREADS": "1", "BENCH_MAX_BATCH_SIZE": "32", "BENCH_BATCH_TIMEOUT_S": "0.005",
                 "parallel_workers": "0"},
    "torchserve": {"BENCH_THREADS": "2", "BENCH_MAX_BATCH_SIZE": "32", "BENCH_BATCH_TIMEOUT_S": "0.005"},
    "bentoml": {"BENCH_THREADS": "2", "BENCH_MAX_BATCH_SIZE": "32", "BENCH_BATCH_TIMEOUT_S": "1"},
}  # fmt: skip
TRIED: dict[str, dict[str, list[str]]] = {
    "litserve": {
        "BENCH_THREADS": ["1", "2"],
        "BENCH_MAX_BATCH_SIZE": ["16", "32"],
        "BENCH_BATCH_TIMEOUT_S": ["0.001", "0.01", "0.05"],
        "BENCH_FAST_QUEUE": ["0", "1"],
    },
    "mlserver": {
        "BENCH_THREADS": ["1", "2"],
        "BENCH_MAX_BATCH_SIZE": ["32"],
        "BENCH_BATCH_TIMEOUT_S": ["0.001", "0.01"],
        "parallel_workers": ["0", "1"],
    },
    "torchserve": {
        "BENCH_THREADS": ["1", "2"],
        "BENCH_MAX_BATCH_SIZE": ["16", "32"],
        "BENCH_BATCH_TIMEOUT_S": ["0.001", "0.01", "0.05"],
    },
    "bentoml": {"BENCH_THREADS": ["1", "2"], "BENCH_MAX_BATCH_SIZE": ["32"], "BENCH_BATCH_TIMEOUT_S": ["1"]},
}


def best(peer: str, model: str, dtype: str) -> Settings:
    """The quickest settings that were found, or the usual ones."""
    known = json.loads(BEST.read_text()) if BEST.exists() else {}
    return known.get(f"{peer} {model} {dtype}", {"settings": USUAL[peer]})["settings"]


def tune(
    peer: str, model: Model, dtype: str, bodies: dict[str, Body], say: Callable[[str], None], *, seconds: float = 3
) -> None:
    """Try all settings of a peer, each in a fresh server, and remember the one with the highest rate at 32 callers."""
    rates: list[tuple[float, Settings]] = []
    for settings in _combinations(TRIED[peer]):
        rate = _rate(peer, model, dtype, bodies[BODY_OF[peer]], settings, seconds)
        say(f"  {peer} {model.name} {dtype} {settings}: {rate:.0f}/s")
        rates.append((rate, settings))
    rate, settings = max(rates, key=lambda one: one[0])
    known = json.loads(BEST.read_text()) if BEST.exists() else {}
    known[f"{peer} {model.name} {dtype}"] = {"settings": settings, "rate": rate}
    BEST.write_text(json.dumps(known, indent=2))
    say(f"{peer} {model.name} {dtype}: best {settings} with {rate:.0f}/s")


def _rate(peer: str, model: Model, dtype: str, body: Body, settings: Settings, seconds: float) -> float:
    server, url = PEERS[peer](PLACE / "bundles" / model.name, dtype, settings)
    with server:
        server.wait_until_answers(url, body.path.read_bytes(), body.content_type)
        closed_loop(body.to(url), 32, 1)
        load = closed_loop(body.to(url), 32, seconds)
        return 0.0 if load.num_failed else load.rate


def _combinations(tried: dict[str, list[str]]) -> Iterator[Settings]:
    for values in itertools.product(*tried.values()):
        yield dict(zip(tried, values, strict=True))
