"""Formats statistics of models for the statistics extension of the protocol."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.services.prediction.version_cache import ServedModel
from app.serving.statistics import InferenceStatistics, StatisticDuration


def build_statistics(models: Iterable[tuple[ServedModel, InferenceStatistics, Mapping[str, int]]]) -> dict[str, Any]:
    """Return the body of `GET /v2/models/stats`."""
    return {"model_stats": [build_model_statistics(*entry) for entry in models]}


def build_model_statistics(
    model: ServedModel, statistics: InferenceStatistics, num_bytes: Mapping[str, int]
) -> dict[str, Any]:
    """Return the statistics of a model version and its memory usage on each device.

    `inference_count / execution_count` is the mean batch size. Durations that are not measured are 0. The counts of
    `compute_input`, `compute_infer` and `compute_output` are the number of batches: Triton's perf_analyzer ends with an
    error if they differ.
    """
    batches = statistics.list_batches()
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
            "compute_input": computed._replace(ns=statistics.decode.ns)._asdict(),
            "compute_infer": computed._asdict(),
            "compute_output": computed._replace(ns=0)._asdict(),
            "cache_hit": unmeasured,
            "cache_miss": unmeasured,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": duration._replace(ns=0)._asdict(),
                "compute_infer": duration._asdict(),
                "compute_output": duration._replace(ns=0)._asdict(),
            }
            for size, duration in batches
        ],
        "memory_usage": [_format_memory(device, size) for device, size in sorted(num_bytes.items())],
    }


def _format_memory(device: str, num_bytes: int) -> dict[str, Any]:
    """Format the memory usage on a device (`cpu` or `cuda:<number>`) as Triton does."""
    kind, _, number = device.partition(":")
    return {"type": "GPU" if kind == "cuda" else "CPU", "id": int(number or 0), "byte_size": num_bytes}
