"""What models have done so far, in the words of the protocol's statistics extension."""

from collections.abc import Iterable
from typing import Any

from app.services.predictions import Served
from app.serving.tally import Duration, Tally


def of_models(tallies: Iterable[tuple[Served, Tally]]) -> dict[str, Any]:
    """The answer of `GET /v2/models/stats`."""
    return {"model_stats": [of_model(served, tally) for served, tally in tallies]}


def of_model(served: Served, tally: Tally) -> dict[str, Any]:
    """One version. `inference_count / execution_count` is the mean size of a batch; what is not measured counts 0."""
    batches = tally.batches()
    computed = sum((duration for _, duration in batches), Duration())
    unmeasured = Duration()._asdict()
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
            "compute_input": unmeasured,
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
        "memory_usage": [],
    }
