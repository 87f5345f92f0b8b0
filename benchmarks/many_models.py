"""Serves many small models at the default settings: throughput, refused requests, memory and the size of `/metrics`.

    .venv/bin/python -m benchmarks.many_models [--models 500] [--callers 32] [--seconds 10] [--rounds 3] [--code DIR]

Each request is a PNG for one model. The model is drawn from a Zipf distribution with exponent 1.1 over all models, or
over the first five. The rounds of both alternate on one server; the first round of all models also loads them. The load
generator is `wrk`, whose callers send their next request when they have received the response. `--code` is another
checkout whose API is measured, for example of an earlier revision.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx
import numpy as np

from core.db.schema import upgrade_schema
from core.db.session import make_engine, make_session_factory
from core.storage import open_storage
from tests.support import bundles
from tests.support.images import random_png
from tests.support.processes import die_with_parent, end, wait_for

ROOT = Path(__file__).resolve().parents[1]
HEADING = "| round | models | responses | refused | broken | successes/s | p50 ms | p99 ms |"
EXPONENT = 1.1
NUM_FEW = 5
NUM_DRAWS = 20_000
ARCHITECTURE = {"name": "convnet", "options": {"channels": [8, 16], "head": [16], "batch_norm": True}}
SCRIPT = """
local requests, n = {{}}, 0
function init()
  local body = assert(io.open("{image}", "rb")):read("*a")
  wrk.headers["Content-Type"] = "image/png"
  for number in io.lines("{draws}") do
    requests[#requests + 1] = wrk.format("POST", "/v1/models/model-" .. number .. "/predict", wrk.headers, body)
  end
end
function request()
  n = n % #requests + 1
  return requests[n]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{{"responses": %d, "us": %d, "p50": %.1f, "p99": %.1f, "refused": %d, "broken": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout))
end
"""


class Api:
    """The API of a checkout as a process with its own home folder, without worker and queue."""

    def __init__(self, home: Path, code: Path) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.set_inheritable(True)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
        environment |= {
            "CANDELA_HOME": str(home),
            "CANDELA_REDIS_URL": f"redis+socket://{home}/none.sock?virtual_host=0",
            "CANDELA_LOG_LEVEL": "ERROR",
            "PYTHONPATH": str(code),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "candela.serve", str(listener.fileno())],
            env=environment,
            cwd=code,
            preexec_fn=die_with_parent,
            pass_fds=(listener.fileno(),),
        )
        listener.close()
        wait_for(lambda: self.get("/v1/system").json()["inference"], "the inference process", 120)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=60)

    def measure_memory_mib(self) -> float:
        """Return the resident memory of the API process and the inference process."""
        pids = [self._process.pid, *(process["pid"] for process in self.get("/v1/system").json()["inference"])]
        fields = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
        return sum(int(match[1]) for text in fields if (match := re.search(r"^Pss: +(\d+)", text, re.M))) / 1024

    def close(self) -> None:
        end(self._process)


def register_models(home: Path, num_models: int) -> int:
    """Store the models and return the size of the weights of one in bytes."""
    url = f"sqlite:///{home / 'candela.db'}"
    upgrade_schema(url)
    engine, storage = make_engine(url), open_storage(f"file://{home / 'store'}")
    sessions = make_session_factory(engine)
    for number in range(num_models):
        bundles.register_model(sessions, storage, f"model-{number}", 1, seed=number, architecture=ARCHITECTURE)
    engine.dispose()
    return (home / "store" / "jobs" / "model-0-1" / "bundle" / "weights.safetensors").stat().st_size


def write_script(folder: Path, num_models: int, seed: int) -> Path:
    """Write a script for `wrk` that sends requests to models drawn from the Zipf distribution."""
    weights = 1 / np.arange(1, num_models + 1) ** EXPONENT
    draws = np.random.default_rng(seed).choice(num_models, NUM_DRAWS, p=weights / weights.sum())
    (folder / "image.png").write_bytes(random_png(1, height=8, width=8))
    (folder / "draws").write_text("\n".join(map(str, draws)) + "\n")
    script = folder / f"load-{num_models}-{seed}.lua"
    script.write_text(SCRIPT.format(image=folder / "image.png", draws=folder / "draws"))
    return script


def run_load(url: str, script: Path, callers: int, seconds: float) -> dict[str, float]:
    """Send requests and return the numbers of responses and failures, the rate of successes and the latencies in ms."""
    command = [
        "wrk",
        "-t1",
        f"-c{callers}",
        f"-d{seconds:.0f}s",
        "--timeout",
        "60s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    found["rate"] = (found["responses"] - found["refused"]) / (found["us"] / 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--code", type=Path, default=ROOT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candela-benchmark-") as folder:
        home = Path(folder)
        size = register_models(home, options.models)
        print(f"{options.models} models of {size / 1000:.1f} kB, {options.callers} callers, code of {options.code}")
        print(HEADING, "|--:|--:|--:|--:|--:|--:|--:|--:|", sep="\n")
        api = Api(home, options.code)
        try:
            rates: dict[int, list[float]] = {NUM_FEW: [], options.models: []}
            idle_mib, few_mib = api.measure_memory_mib(), 0.0
            for number in range(1, options.rounds + 1):
                for num_models, found in rates.items():
                    load = run_load(api.url, write_script(home, num_models, number), options.callers, options.seconds)
                    found.append(load["rate"])
                    print(
                        f"| {number} | {num_models} | {load['responses']} | {load['refused']} | {load['broken']} | "
                        f"{load['rate']:.0f} | {load['p50'] / 1e3:.1f} | {load['p99'] / 1e3:.1f} |",
                        flush=True,
                    )
                    few_mib = few_mib or api.measure_memory_mib()
            metrics = api.get("/metrics").text
            loaded = re.search(r"^candela_models_loaded (\S+)$", metrics, re.M)
            few, many = (statistics.median(found) for found in rates.values())
            print(f"all models / {NUM_FEW} models: {many / few:.2f}; loaded at the end: {loaded and loaded[1]}")
            print(f"/metrics: {len(metrics.splitlines())} lines, {len(metrics) / 1e6:.2f} MB")
            print(
                f"memory: idle {idle_mib:.0f}, {NUM_FEW} models {few_mib:.0f}, end {api.measure_memory_mib():.0f} MiB"
            )
        finally:
            api.close()


if __name__ == "__main__":
    main()
