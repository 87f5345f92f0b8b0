"""The exposition of Prometheus metrics."""

import os
from pathlib import Path

import pytest

from app.http import metrics
from app.serving.version_series import MULTIPROCESS_DIR


def test_the_metrics_of_one_process_are_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROCESS_DIR, raising=False)
    metrics.REQUESTS.labels("GET", "/test", "200").inc(3)
    assert b'candela_http_requests_total{method="GET",route="/test",status="200"} 3.0' in metrics.render_exposition()


def test_live_gauges_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROCESS_DIR, str(tmp_path))
    dead, alive = tmp_path / "gauge_livesum_999999999.db", tmp_path / f"gauge_livesum_{os.getpid()}.db"
    dead.touch()
    alive.touch()
    metrics._remove_dead_processes()
    assert (dead.exists(), alive.exists()) == (False, True)
