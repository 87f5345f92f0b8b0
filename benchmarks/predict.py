"""Compares predictions over HTTP with the raw batched forward pass of a small network, with 32 callers.

    python benchmarks/predict.py [--callers 32] [--seconds 5] [--rounds 3]

SMALL is a network for 28x28 grayscale images with two convolutions (32, 64) and one hidden layer. Its weights are
random, which does not affect the speed. The service is real: uvicorn in a separate process, SQLite, a stored bundle,
PNG bodies. The load generator is `wrk` if installed, otherwise httpx, which is slower. All processes share the CPUs.
"""

import argparse
import asyncio
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import torch
from PIL import Image

from app.inference.predictor import Predictor
from core.db import schema
from core.db.clock import utc_now
from core.db.session import make_engine, make_session_factory, transaction
from core.db.tables import ModelVersionRow
from core.settings import Settings
from core.storage import open_storage
from models import bundle, registry

SMALL = bundle.BundleDescription(
    architecture=bundle.ArchitectureChoice(name="convnet", options={"channels": [32, 64], "head": [128]}),
    image_shape=(1, 28, 28),
    num_outputs=10,
    task="classification",
    classes=[str(digit) for digit in range(10)],
    mean=[0.29],
    std=[0.35],
)
KEY = "jobs/benchmark/bundle"
BATCH = 32


def prepare_service(settings: Settings) -> Path:
    """Create a database and a storage with one model, and return the folder of its bundle."""
    settings.home.mkdir(parents=True, exist_ok=True)
    schema.upgrade_schema(settings.sqlalchemy_url)
    storage = open_storage(settings.effective_storage_url)
    folder = storage.create_scratch_folder() / "bundle"
    folder.mkdir()
    network = registry.build_network(SMALL.architecture.name, SMALL.architecture.options, SMALL.image_shape, 10)
    files = bundle.save_bundle(folder, network, SMALL)
    storage.publish(folder, KEY)
    file_metadata = {name: {"sha256": sha256, "size_bytes": size} for name, (sha256, size) in files.items()}
    row = ModelVersionRow(
        name="small", version=1, job_id="benchmark", job_token=1, key=KEY, files=file_metadata,
        sha256=files[bundle.WEIGHTS][0], size_bytes=1, bundle=SMALL.model_dump(mode="json"), spec={}, metrics={},
        dataset={}, num_parameters=1, created_at=utc_now(),
    )  # fmt: skip
    with transaction(make_session_factory(make_engine(settings.sqlalchemy_url))) as session:
        session.add(row)
    return storage.fetch(KEY, {name: sha256 for name, (sha256, _) in files.items()})


def make_image() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def measure_raw_rate(predictor: Predictor, seconds: float) -> float:
    """Return images per second of the network alone, in batches of 32."""
    batch = [np.zeros((28, 28, 1), np.uint8)] * BATCH
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        predictor(batch)
        count += BATCH
    return count / (time.perf_counter() - started)


def measure_wrk_rate(url: str, body: Path, callers: int, seconds: float) -> float:
    script = body.with_suffix(".lua")
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "image/png"\n'
        f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
    )
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds:.0f}s", "--latency", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    assert "Non-2xx" not in output, output
    latency = " ".join(f"{share} {value}" for share, value in re.findall(r"(50|99)%\s+(\S+)", output))
    print(f"    wrk: percentiles {latency}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])


async def measure_httpx_rate(url: str, body: bytes, callers: int, seconds: float) -> float:
    until, count = time.perf_counter() + seconds, 0
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=callers)) as client:

        async def call() -> None:
            nonlocal count
            while time.perf_counter() < until:
                (await client.post(url, content=body, headers={"Content-Type": "image/png"})).raise_for_status()
                count += 1

        await asyncio.gather(*(call() for _ in range(callers)))
    return count / seconds


def measure_single_caller_ms(url: str, body: bytes, number: int = 200) -> float:
    """Return the median response time of one caller in milliseconds."""
    times = []
    with httpx.Client(timeout=60) as client:
        for _ in range(number):
            started = time.perf_counter()
            client.post(url, content=body, headers={"Content-Type": "image/png"}).raise_for_status()
            times.append(time.perf_counter() - started)
    return median(times) * 1e3


def start_service(home: Path, port: int) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        "CANDELA_HOME": str(home),
        "CANDELA_REDIS_URL": f"redis+socket://{home}/none.sock?virtual_host=0",
        "CANDELA_LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--host", "127.0.0.1"]
    options = ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    return subprocess.Popen([*command, *options], env=environment, cwd=Path(__file__).parents[1])


def wait_until_up(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    home, port = Path(tempfile.mkdtemp(prefix="candela-benchmark-")), free_port()
    predictor = Predictor.load(prepare_service(Settings(home=home)))
    body, file = make_image(), home / "image.png"
    file.write_bytes(body)
    url = f"http://127.0.0.1:{port}/v1/models/small/predict"
    server = start_service(home, port)
    try:
        wait_until_up(f"http://127.0.0.1:{port}/health/live")
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads; "
            f"one caller: {measure_single_caller_ms(url, body):.2f} ms (p50)"
        )
        shares = []
        for number in range(1, options.rounds + 1):
            raw = measure_raw_rate(predictor, options.seconds)
            if shutil.which("wrk"):
                served = measure_wrk_rate(url, file, options.callers, options.seconds)
            else:
                served = asyncio.run(measure_httpx_rate(url, body, options.callers, options.seconds))
            shares.append(served / raw)
            print(f"round {number}: raw {raw:.0f}/s, over HTTP {served:.0f}/s, share {shares[-1]:.2f}")
        print(
            f"share of the raw batched forward: "
            f"min {min(shares):.2f} / median {median(shares):.2f} / max {max(shares):.2f}"
        )
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
