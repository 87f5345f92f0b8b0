"""The choice between measured candidates, and the sentences that explain it."""

import math
from typing import Any

import pytest

from models.variants import MissingPackage
from worker.trainer.error_classification import AccuracyDropped
from worker.trainer.variant_choice import (
    MIN_SPEED_RATIO,
    Outcome,
    VariantCandidate,
    choose_variant,
    report_candidates,
)
from worker.trainer.variant_comparison import Comparison

MAX_DROP = 0.005


def build_candidate(
    kind: Any, ratio: float | None, after: float = 0.9, before: float = 0.9, agreement: float | None = 1.0
) -> VariantCandidate:
    return VariantCandidate(kind, Comparison(before, after, 0.01, agreement), ratio)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ({"onnx": 1.5, "openvino": 2.0, "int8": 1.9}, "openvino"),
        ({"onnx": 0.8, "openvino": 0.9, "int8": 1.2}, "int8"),
        ({"onnx": 2.0, "openvino": 2.0, "int8": 1.0}, "onnx"),
        ({"onnx": MIN_SPEED_RATIO}, "onnx"),
        ({"onnx": 1.09, "openvino": 0.5, "int8": 1.0}, None),
        ({}, None),
    ],
)
def test_the_fastest_candidate_that_is_faster_than_the_model_is_chosen(
    ratios: dict[str, float], expected: str | None
) -> None:
    assert choose_variant([build_candidate(kind, ratio) for kind, ratio in ratios.items()], MAX_DROP) == expected


@pytest.mark.parametrize(("after", "is_chosen"), [(0.95, True), (0.8951, True), (0.894, False), (math.nan, False)])
def test_an_inaccurate_candidate_is_never_chosen(after: float, is_chosen: bool) -> None:
    candidates = [build_candidate("int8", 9.0, after), build_candidate("onnx", 1.2)]
    assert choose_variant(candidates, MAX_DROP) == ("int8" if is_chosen else "onnx")


@pytest.mark.parametrize(("agreement", "is_chosen"), [(0.995, True), (0.9949, False), (math.nan, False), (None, True)])
def test_a_candidate_that_decides_otherwise_is_not_chosen(agreement: float | None, is_chosen: bool) -> None:
    candidates = [build_candidate("int8", 9.0, agreement=agreement), build_candidate("onnx", 1.2)]
    assert choose_variant(candidates, MAX_DROP) == ("int8" if is_chosen else "onnx")


def test_a_candidate_that_failed_or_was_not_measured_is_not_chosen() -> None:
    candidates = [VariantCandidate("onnx", error=ValueError("no")), build_candidate("int8", None)]
    assert choose_variant(candidates, MAX_DROP) is None


def test_every_candidate_has_an_outcome_and_a_sentence() -> None:
    candidates = [
        build_candidate("onnx", 1.5),
        build_candidate("openvino", 2.0),
        build_candidate("int8", None, after=0.5),
        VariantCandidate("onnx", error=MissingPackage("the package 'onnx' is not installed")),
        VariantCandidate("onnx", error=AccuracyDropped("The variant's scores are not finite.")),
        VariantCandidate("onnx", error=RuntimeError("Unsupported operator: fft\nlong\ndump")),
        build_candidate("torch-compile", 1.0),
        build_candidate("int8", None, agreement=0.97),
    ]
    reports = report_candidates(candidates, "openvino", MAX_DROP)
    assert [(report.outcome, report.message) for report in reports] == [
        (Outcome.SLOWER, "1.50 times as fast as the model, but openvino is faster."),
        (Outcome.CHOSEN, "The fastest variant: 2.00 times as fast as the model."),
        (Outcome.ACCURACY_DROPPED, "The accuracy drops from 0.9000 to 0.5000; max_drop is 0.005."),
        (Outcome.UNAVAILABLE, "Not available on this worker: the package 'onnx' is not installed."),
        (Outcome.ACCURACY_DROPPED, "The variant's scores are not finite."),
        (Outcome.FAILED, "Could not be made: RuntimeError: Unsupported operator: fft."),
        (Outcome.SLOWER, "Only 1.00 times as fast as the model; a variant must be at least 1.1 times as fast."),
        (
            Outcome.DECISIONS_DIFFER,
            "Only 0.9700 of the samples get the same class as from the model; with max_drop 0.005, 0.995 must.",
        ),
    ]
    assert reports[1].to_dict() == {
        "format": "openvino",
        "outcome": "chosen",
        "after": 0.9,
        "max_logit_difference": 0.01,
        "agreement": 1.0,
        "speed_ratio": 2.0,
        "message": reports[1].message,
    }
    missing = reports[3].to_dict()
    assert (missing["after"], missing["max_logit_difference"], missing["speed_ratio"]) == (None, None, None)
