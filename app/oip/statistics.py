"""What models have done so far, in the words of the protocol's statistics extension."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.services.prediction.version_cache import ServedModel
from app.serving.statistics import InferenceStatistics, StatisticDuration


def build_statistics(models: Iterable[tuple[ServedModel, InferenceStatistics, Mapping[str, int]]]) -> dict[str, Any]:
    """The answer of `GET /v2/models/stats`."""
    return {"model_stats": [build_model_statistics(*each) for each in models]}


def build_model_statistics(
    model: ServedModel, statistics: InferenceStatistics, num_bytes: Mapping[str, int]
) -> dict[str, Any]:
    """One version, and what it takes in memory, by device.

    `inference_count / execution_count` is the mean size of a batch; what is not measured counts 0.
    """
    batches = statistics.batches()
    computed = sum((duration for _, duration in batches), StatisticDuration())
    unmeasured = StatisticDuration()._asdict()
    return {
        "name": model.name,
        "version": str(model.version),
        "last_inference": statistics.last_inference_ms,
        "inference_count": sum(size * duration.count for size, duration in batches),
        "execution_count": computed.count,
        "inference_stats": {
            "success": statistics.success._asdict(),
            "fail": statistics.fail._asdict(),
            "queue": statistics.queue._asdict(),
            "compute_input": statistics.decode._asdict(),
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
        "memory_usage": [_format_memory(device, size) for device, size in sorted(num_bytes.items())],
    }


def _format_memory(device: str, num_bytes: int) -> dict[str, Any]:
    """In Triton's words; devices are `cpu`, or `cuda:` and a number."""
    kind, _, number = device.partition(":")
    return {"type": "GPU" if kind == "cuda" else "CPU", "id": int(number or 0), "byte_size": num_bytes}
