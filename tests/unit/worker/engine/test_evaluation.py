"""Tests of evaluation reports against values computed by hand."""

import pytest
import torch

from worker.engine.evaluation import (
    CalibrationError,
    ConfusionMatrixCounts,
    EvaluationReport,
    compute_probabilities,
    make_decisions,
)


def test_calibration_error_weights_each_bin_gap_by_samples() -> None:
    """Four bins; their edges belong to the bin below.

    (0.5, 0.75]: confidences 0.6, 0.7, 0.75, one of three right: gap |1/3 - 2.05/3| = 1.05/3.
    (0.75, 1]: 0.9 and 1.0, both right: gap |1 - 1.9/2| = 0.05. Hence (3 * 1.05/3 + 2 * 0.05) / 5 = 0.23.
    """
    reliability = CalibrationError(4)
    reliability.update(torch.tensor([0.6, 0.9, 0.75]), torch.tensor([True, True, False]))
    reliability.update(torch.tensor([0.7, 1.0]), torch.tensor([False, True]))
    assert reliability.ece == pytest.approx(0.23)
    bins = reliability.build_bins()
    assert [(row["from"], row["to"], row["count"]) for row in bins] == [
        (0.0, 0.25, 0),
        (0.25, 0.5, 0),
        (0.5, 0.75, 3),
        (0.75, 1.0, 2),
    ]
    assert bins[0]["confidence"] is bins[0]["accuracy"] is None
    assert bins[2]["confidence"] == pytest.approx(2.05 / 3)
    assert bins[2]["accuracy"] == pytest.approx(1 / 3)
    assert bins[3]["confidence"] == pytest.approx(0.95)
    assert bins[3]["accuracy"] == 1.0


def test_perfect_confidence_and_no_samples_give_zero_error() -> None:
    assert CalibrationError(15).ece == 0.0
    reliability = CalibrationError(15)
    reliability.update(torch.ones(3), torch.ones(3, dtype=torch.bool))
    assert reliability.ece == 0.0


def test_report_matches_the_decisions() -> None:
    """Scores ln p give the probabilities p: 0.8 for a (right), 0.6 for b (truth: a), 0.5 for a (right)."""
    report = EvaluationReport("classification", 3, num_bins=2)
    p = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.5, 0.3, 0.2]])
    report.update(p.log(), torch.tensor([0, 0, 0]))
    result = report.to_dict(["a", "b", "c"])
    assert result["confusion_matrix"] == [[2, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert result["classes"][0] == {
        "label": "a",
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "support": 3,
    }
    assert result["classes"][1] == {"label": "b", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    # (0, 0.5]: 0.5, right; (0.5, 1]: 0.8 right, 0.6 wrong, gap |1 - 1.4|: (0.5 + 0.4) / 3
    assert result["calibration"]["ece"] == pytest.approx(0.3)


def test_binary_confidence_refers_to_the_predicted_class() -> None:
    judged = make_decisions(torch.tensor([[0.9], [0.2]]), torch.tensor([[1.0], [1.0]]), "binary")
    assert judged.predicted.tolist() == [1, 0]
    assert judged.confidence.tolist() == pytest.approx([0.9, 0.8])
    assert compute_probabilities(torch.zeros(1, 1), "binary").tolist() == [[0.5]]


def test_multilabel_counts_each_label_separately() -> None:
    counted = ConfusionMatrixCounts(2, num_tables=2)
    counted.update(torch.tensor([1, 0, 1, 1]), torch.tensor([1, 1, 0, 1]))
    assert counted.counts.tolist() == [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    assert counted.compute_class_metrics()[0] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
