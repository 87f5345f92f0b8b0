"""Uses the SDK as installed from the wheel of the client: `python call_client_wheel.py URL IMAGE`. Prints JSON.

It runs in an environment without the packages of the service, and imports nothing from the repository.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

start_s = time.process_time()
import candela  # noqa: E402 - measured

import_cpu_s = time.process_time() - start_s
from candela import AsyncClient, Client  # noqa: E402 - measured

client_cpu_s = time.process_time() - start_s
HEAVY = {"torch", "torchvision", "celery", "cv2", "sqlalchemy", "numpy", "PIL", "pandas", "fastapi", "core", "app"}
SPEC: dict[str, Any] = {
    "name": "wheel",
    "model": "wheel",
    "dataset": {"name": "synthetic", "image_shape": [1, 8, 8], "num_classes": 2, "num_samples": 64, "seed": 1},
    "architecture": {"name": "mlp", "hidden": [8]},
    "batch_size": 8,
    "epochs": 2,
    "device": "cpu",
    "threads": 1,
}


def train(url: str, image: Path) -> dict[str, Any]:
    with Client(url) as client:
        job = client.jobs.submit(SPEC)
        events = [event["type"] for event in job.watch()]
        prediction = client.models.predict("wheel", image)["predictions"][0]
        return {"state": job.raise_for_failure().state, "events": events, "label": prediction["label"]}


async def train_asynchronously(url: str, image: Path) -> dict[str, Any]:
    async with AsyncClient(url) as client:
        job = await client.jobs.submit(SPEC)
        events = [event["type"] async for event in job.watch()]
        predictions = await asyncio.gather(*(client.models.predict("wheel", image) for _ in range(3)))
        labels = {prediction["predictions"][0]["label"] for prediction in predictions}
        return {"state": job.raise_for_failure().state, "events": events, "label": labels.pop()}


def main() -> None:
    url, image = sys.argv[1], Path(sys.argv[2])
    results = {
        "path": str(Path(candela.__file__).parent),
        "version": candela.__version__,
        "import_cpu_s": import_cpu_s,
        "client_cpu_s": client_cpu_s,
        "train": train(url, image),
        "train_asynchronously": asyncio.run(train_asynchronously(url, image)),
        "heavy": sorted(HEAVY & sys.modules.keys()),
    }
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
