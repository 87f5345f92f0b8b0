"""The table of metrics in the production guide lists every Prometheus metric with its labels."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from app.http import metrics as http_metrics
from app.serving import metrics as serving_metrics

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "production.md"


def test_every_metric_is_in_the_table_with_its_labels() -> None:
    rows = re.findall(r"^\| `(candela_\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    metrics = [
        metric
        for module in (http_metrics, serving_metrics)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
    ]
    expected = {next(iter(metric.describe())).name: list(metric._labelnames) for metric in metrics}
    assert {name.removesuffix("_total"): re.findall(r"`(\w+)`", labels) for name, labels in rows} == expected
