"""Statistics, admission control and metrics of one model."""

import pytest
from prometheus_client import REGISTRY

from app.inference.types import DEFAULT_PRIORITY, BatchStats
from app.serving.admission import AdmissionController
from app.serving.model_monitor import ModelMonitor
from app.serving.types import BundleRef
from app.serving.version_series import VersionSeries
from core.errors import Overloaded


@pytest.fixture
def monitor(request: pytest.FixtureRequest) -> ModelMonitor:
    admission = AdmissionController("m", max_batch_size=4, max_waiting=4, max_wait_s=10.0)
    series = VersionSeries((request.node.name, "1"))
    return ModelMonitor(BundleRef("key", (), request.node.name, "1"), admission, series, None)


def read_metric(request: pytest.FixtureRequest, name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": request.node.name, "version": "1", **labels}) or 0.0


def test_admitted_samples_are_in_flight_while_the_context_is_open(
    monitor: ModelMonitor, request: pytest.FixtureRequest
) -> None:
    with monitor.admit(3, None, DEFAULT_PRIORITY):
        assert monitor.admission.num_in_flight == 3
        assert read_metric(request, "candela_predictions_waiting") == 3
        with pytest.raises(Overloaded), monitor.admit(2, None, DEFAULT_PRIORITY):
            pass
    assert monitor.admission.num_in_flight == 0
    assert read_metric(request, "candela_predictions_waiting") == 0
    assert read_metric(request, "candela_predictions_refused_total", reason="queue") == 2


def test_the_listener_records_a_batch(monitor: ModelMonitor, request: pytest.FixtureRequest) -> None:
    monitor.make_listener()(BatchStats(4, 1, 0.5, num_dropped=2), [0.25, 0.25])
    assert [(size, duration.count) for size, duration in monitor.statistics.list_batches()] == [(4, 1)]
    assert monitor.statistics.queue.count == 2
    assert monitor.admission.estimate_wait_s(4) == pytest.approx(0.5)
    assert read_metric(request, "candela_predictions_total", outcome="answered") == 3
    assert read_metric(request, "candela_predictions_total", outcome="failed") == 1
    assert read_metric(request, "candela_predictions_dropped_total") == 2
