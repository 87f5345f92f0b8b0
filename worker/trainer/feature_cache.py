"""Decides whether a training caches the outputs of its frozen layers, and computes them."""

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from core.datasets.packed import PackedMeta
from core.errors import InvalidSpec
from core.spec import JobSpec
from core.spec.feature_cache import find_cache_obstacles
from models.network_split import CannotSplit
from worker.engine.feature_cache import FeatureCache
from worker.engine.run import Run
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.job_context import JobContext

MAX_DISK_SHARE = 0.5
"""The largest share of the free disk space that the features may use."""


class FeaturePlan(NamedTuple):
    """The decision on a cache. `runtime` describes it for the job's `runtime`; empty if no parameters are frozen."""

    cache: FeatureCache | None
    runtime: dict[str, Any]


def plan_feature_cache(run: Run, spec: JobSpec, meta: PackedMeta, context: JobContext) -> FeaturePlan:
    """Plan the cache of a run whose initial weights are loaded.

    Raises:
        InvalidSpec: the spec requires a cache, but the outputs of its frozen layers cannot be cached.
    """
    if spec.cache_features is False or (spec.cache_features == "auto" and not spec.freeze) or run.state.is_done:
        return FeaturePlan(None, {})
    try:
        cache = _create_cache(run, spec, meta, context)
    except CannotSplit as error:
        if spec.cache_features is True:
            raise InvalidSpec(f"cache_features is true, but {error}") from error
        return FeaturePlan(None, {"cached_features": {"used": False, "reason": str(error)}})
    return FeaturePlan(cache, {"cached_features": {"used": True, "reason": None, **cache.describe()}})


def fill_feature_cache(run: Run, plan: FeaturePlan, context: JobContext) -> Run:
    """Compute the features, and return a copy of the run that uses them. Without a cache, return the run unchanged.

    Raises:
        EvaluationInterrupted: a stop is requested.
        OSError: the disk is full.
    """
    if plan.cache is None:
        return run
    folder, started_at = context.work_dir / "features", time.monotonic()
    folder.mkdir()
    reporter = ProgressReporter(context.channel, run.state.num_steps, is_quiet=True)

    def report_batch() -> None:
        reporter.check_stop_request()
        reporter.report_step(0)

    cached = plan.cache.fill(folder, report_batch)
    context.channel.send_log(
        f"The outputs of the frozen layers were computed in {time.monotonic() - started_at:.1f} s "
        f"({plan.cache.num_bytes / 1e6:.1f} MB). All epochs use them."
    )
    return cached


def _create_cache(run: Run, spec: JobSpec, meta: PackedMeta, context: JobContext) -> FeatureCache:
    """Create a cache if it does not change the results.

    Raises:
        CannotSplit: the outputs of the frozen layers cannot be cached, or caching them has no advantage.
    """
    obstacles = find_cache_obstacles(spec)
    if meta.table is not None:
        obstacles.append("the samples of the dataset are not images")
    if spec.cache_features == "auto" and run.state.num_planned_steps <= run.state.steps_per_epoch:
        obstacles.append("at most one epoch remains")
    if obstacles:
        raise CannotSplit(obstacles[0])
    cache = FeatureCache(run)
    limit = min(context.start.max_feature_bytes, int(MAX_DISK_SHARE * _get_free_bytes(context.work_dir)))
    if cache.num_bytes > limit:
        raise CannotSplit(
            f"the outputs of the frozen layers need {cache.num_bytes} bytes; at most {limit} are available "
            "(CANDELA_MAX_FEATURE_BYTES, or half of the free disk space)"
        )
    if not cache.check_features():
        reason = "the outputs of the frozen layers depend on the position of a sample in its batch on this device"
        if spec.cache_features == "auto":
            raise CannotSplit(reason)
        context.channel.send_log(f"The results can differ from those without cache_features: {reason}.", "warning")
    return cache


def _get_free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
