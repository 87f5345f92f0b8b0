"""Response bodies of jobs: metrics and failures."""

from app.schemas.jobs import MetricsOut, _build_failure, format_csv, get_point_value
from core.db.repos.metrics import MetricPoint, MetricSeries

POINTS = [MetricPoint("train", "loss", 1, 1, 0.5, None), MetricPoint("train", "loss", 2, 1, None, "NaN")]
SERIES = [MetricSeries("loss", "train", POINTS)]


def test_a_non_finite_value_is_a_string() -> None:
    assert [get_point_value(point) for point in POINTS] == [0.5, "NaN"]
    points = MetricsOut.from_series(SERIES).series[0].points
    assert [point.value for point in points] == [0.5, "NaN"]


def test_csv_has_a_header_and_a_line_per_point() -> None:
    assert "".join(format_csv(SERIES)) == "split,name,step,epoch,value\ntrain,loss,1,1,0.5\ntrain,loss,2,1,NaN\n"


def test_other_fields_of_a_failure_become_its_extra() -> None:
    assert _build_failure(None) is None
    failure = _build_failure({"code": "gpu_out_of_memory", "message": "No memory.", "batch_size": 64})
    assert failure is not None
    assert failure["facts"] == {"batch_size": 64}
    assert (failure["message"], failure["hint"], failure["retryable"]) == ("No memory.", "", False)
