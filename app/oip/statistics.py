"""What models have done so far, in the words of the protocol's statistics extension."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.services.prediction.version_cache import ServedModel
from app.serving.statistics import InferenceStatistics, StatisticDuration


def of_models(known: Iterable[tuple[ServedModel, InferenceStatistics, Mapping[str, int]]]) -> dict[str, Any]:
    """The answer of `GET /v2/models/stats`."""
    return {"model_stats": [of_model(*each) for each in known]}


def of_model(served: ServedModel, tally: InferenceStatistics, num_bytes: Mapping[str, int]) -> dict[str, Any]:
    """One version, and what it takes in memory, by device.

    `inference_count / execution_count` is the mean size of a batch; what is not measured counts 0.
    """
    batches = tally.batches()
    computed = sum((duration for _, duration in batches), StatisticDuration())
    unmeasured = StatisticDuration()._asdict()
    return {
        "name": served.name,
        "version": str(served.version),
        "last_inference": tally.last_inference_ms,
        "inference_count": sum(size * duration.count for size, duration in batches),
        "execution_count": computed.count,
        "inference_stats": {
            "success": tally.success._asdict(),
            "fail": tally.fail._asdict(),
            "queue": tally.queue._asdict(),
            "compute_input": tally.decode._asdict(),
            "compute_infer": computed._asdict(),
            "compute_output": unmeasured,
            "cache_hit": unmeasured,
            "cache_miss": unmeasured,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": unmeasured,
                "compute_infer": duration._asdict(),
                "compute_output": unmeasured,
            }
            for size, duration in batches
        ],
        "memory_usage": [_memory(device, size) for device, size in sorted(num_bytes.items())],
    }


def _memory(device: str, num_bytes: int) -> dict[str, Any]:
    """In Triton's words; devices are `cpu`, or `cuda:` and a number."""
    kind, _, number = device.partition(":")
    return {"type": "GPU" if kind == "cuda" else "CPU", "id": int(number or 0), "byte_size": num_bytes}
