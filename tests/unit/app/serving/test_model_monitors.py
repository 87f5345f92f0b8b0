"""Monitors of models: unused ones expire, and their Prometheus series are given to other versions."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.inference.types import DEFAULT_PRIORITY
from app.serving.admission import AdmissionController
from app.serving.model_monitors import ModelMonitors
from app.serving.types import BundleRef
from app.serving.version_series import EXPIRY_S, VersionSeriesPool
from tests.support.fakes import Clock


@pytest.fixture
def pool() -> Iterator[VersionSeriesPool]:
    pool = VersionSeriesPool(2)
    yield pool
    for labels in pool.own_labels:
        pool.release(labels)


def make_admission(model: str) -> AdmissionController:
    return AdmissionController(model, max_batch_size=4, max_waiting=4, max_wait_s=10.0)


@pytest.fixture
def monitors(pool: VersionSeriesPool, clock: Clock) -> ModelMonitors:
    return ModelMonitors(make_admission, pool, clock=clock)


def ref(name: str) -> BundleRef:
    return BundleRef(name, (), name, "1")


def use(monitors: ModelMonitors, name: str) -> None:
    monitor = monitors.get(ref(name))
    with monitor.admit(1, None, DEFAULT_PRIORITY):
        pass
    monitor.statistics.count_request(0.1, succeeded=True)


def has_series(name: str) -> bool:
    return any(sample.labels.get("model") == name for metric in REGISTRY.collect() for sample in metric.samples)


def test_a_model_keeps_its_monitor(monitors: ModelMonitors) -> None:
    assert monitors.find(ref("a")) is None
    monitor = monitors.get(ref("a"))
    assert monitors.get(ref("a")) is monitors.find(ref("a")) is monitor
    assert monitors.get(ref("a").with_output("embedding")) is not monitor


def test_monitors_and_series_of_unused_models_expire(monitors: ModelMonitors, clock: Clock) -> None:
    use(monitors, "a")
    clock.now += EXPIRY_S - 1
    monitors.expire(lambda _: False)
    assert monitors.find(ref("a")) is not None
    assert has_series("a")
    clock.now += 1
    monitors.expire(lambda _: False)
    assert monitors.find(ref("a")) is None
    assert not has_series("a")


def test_monitors_of_loaded_models_and_of_requests_in_flight_remain(monitors: ModelMonitors, clock: Clock) -> None:
    use(monitors, "loaded")
    with monitors.get(ref("busy")).admit(1, None, DEFAULT_PRIORITY):
        clock.now += 2 * EXPIRY_S
        monitors.expire(lambda bundle: bundle.model == "loaded")
        assert {bundle.model for bundle in monitors.list_bundles()} == {"loaded", "busy"}
        assert has_series("loaded")
        assert has_series("busy")


def test_series_of_idle_versions_go_to_the_versions_with_the_most_requests(
    monitors: ModelMonitors, pool: VersionSeriesPool, clock: Clock
) -> None:
    use(monitors, "idle")
    clock.now += 1
    use(monitors, "later-idle")
    clock.now += EXPIRY_S
    for name, count in (("rare", 1), ("popular", 3)):
        for _ in range(count):
            use(monitors, name)
    assert {model for model, _ in pool.own_labels} == {"idle", "later-idle"}
    clock.now -= 1  # only the first is idle for long enough
    monitors.expire(lambda _: True)
    assert {model for model, _ in pool.own_labels} == {"popular", "later-idle"}
    assert monitors.get(ref("popular")).series is pool.assign(("popular", "1"))
    assert monitors.get(ref("idle")).series is monitors.get(ref("rare")).series is pool.shared_series
    assert not has_series("idle")


def test_the_version_that_is_idle_for_the_longest_time_loses_its_series(
    monitors: ModelMonitors, pool: VersionSeriesPool, clock: Clock
) -> None:
    for name in ("newer", "older"):
        use(monitors, name)
    clock.now += 1
    use(monitors, "newer")
    clock.now += EXPIRY_S
    use(monitors, "a")
    monitors.expire(lambda _: True)
    assert {model for model, _ in pool.own_labels} == {"a", "newer"}


def test_used_versions_keep_their_series(monitors: ModelMonitors, pool: VersionSeriesPool, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        use(monitors, name)
    monitors.expire(lambda _: True)
    assert {model for model, _ in pool.own_labels} == {"a", "b"}
    clock.now += EXPIRY_S - 1
    for _ in range(9):
        use(monitors, "c")
    monitors.expire(lambda _: True)
    assert {model for model, _ in pool.own_labels} == {"a", "b"}


def test_the_monitor_of_a_deleted_model_is_removed_when_no_request_uses_it(monitors: ModelMonitors) -> None:
    use(monitors, "a")
    with monitors.get(ref("a")).admit(1, None, DEFAULT_PRIORITY):
        monitors.remove(ref("a"))
        assert monitors.find(ref("a")) is not None
    monitors.remove(ref("a"))
    assert monitors.find(ref("a")) is None
    assert not has_series("a")


def test_outputs_of_a_version_share_its_series(monitors: ModelMonitors, clock: Clock) -> None:
    use(monitors, "a")
    clock.now += EXPIRY_S
    embedding = ref("a").with_output("embedding")
    with monitors.get(embedding).admit(2, None, DEFAULT_PRIORITY), monitors.get(ref("a")).admit(1, None, 1):
        sample = REGISTRY.get_sample_value("candela_predictions_waiting", {"model": "a", "version": "1"})
        assert sample == 3
    clock.now += EXPIRY_S - 1
    use(monitors, "a")
    clock.now += 1
    monitors.expire(lambda _: False)
    assert [bundle.output for bundle in monitors.list_bundles()] == ["scores"]
    assert has_series("a")


def test_a_version_that_is_used_again_does_not_keep_a_place_that_another_process_gave_away(
    clock: Clock, tmp_path: Path
) -> None:
    pools = [VersionSeriesPool(1, tmp_path) for _ in range(2)]
    first, second = (ModelMonitors(make_admission, pool, clock=clock) for pool in pools)
    use(first, "a")
    (path,) = tmp_path.iterdir()
    os.utime(path, (time.time() - 2 * EXPIRY_S,) * 2)
    clock.now += EXPIRY_S
    use(second, "b")
    second.expire(lambda _: True)  # ends the series of `a`, and gives its place to `b`
    use(first, "a")
    first.expire(lambda _: True)
    assert [pool.own_labels for pool in pools] == [[], [("b", "1")]]
    assert first.get(ref("a")).series is pools[0].shared_series
    assert len(list(tmp_path.iterdir())) == 1
