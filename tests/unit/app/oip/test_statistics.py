"""Statistics of models in the format of the statistics extension."""

from app.oip import statistics
from app.serving.statistics import InferenceStatistics
from tests.support.served_models import build_served_model


def test_statistics_are_sums_over_requests_and_batches() -> None:
    recorder = InferenceStatistics(clock=lambda: 12.5)
    for size, seconds in ((1, 0.5), (4, 1.0), (4, 2.0)):
        recorder.count_batch(size, seconds)
    recorder.count_request(0.25, succeeded=True)
    recorder.count_request(0.5, succeeded=False)
    recorder.count_wait(0.125)
    recorder.count_decoding(0.0625)
    (body,) = statistics.build_statistics([(build_served_model(), recorder, {})])["model_stats"]
    assert (body["name"], body["version"], body["last_inference"]) == ("cats", "3", 12_500)
    assert (body["inference_count"], body["execution_count"]) == (9, 3)
    assert body["inference_stats"]["success"] == {"count": 1, "ns": 250_000_000}
    assert body["inference_stats"]["fail"] == {"count": 1, "ns": 500_000_000}
    assert body["inference_stats"]["queue"] == {"count": 1, "ns": 125_000_000}
    assert body["inference_stats"]["compute_input"] == {"count": 3, "ns": 62_500_000}
    assert body["inference_stats"]["compute_output"] == {"count": 3, "ns": 0}
    assert body["inference_stats"]["compute_infer"] == {"count": 3, "ns": 3_500_000_000}
    assert [(entry["batch_size"], entry["compute_infer"]) for entry in body["batch_stats"]] == [
        (1, {"count": 1, "ns": 500_000_000}),
        (4, {"count": 2, "ns": 3_000_000_000}),
    ]


def test_the_counts_of_input_infer_and_output_are_equal() -> None:
    recorder = InferenceStatistics()
    for number_of_decodings in (0, 1, 5):  # pixels are not decoded, and a batch has the images of several requests
        for _ in range(number_of_decodings):
            recorder.count_decoding(0.5)
        recorder.count_batch(3, 0.25)
        (body,) = statistics.build_statistics([(build_served_model(), recorder, {})])["model_stats"]
        for durations in (body["inference_stats"], *body["batch_stats"]):
            counts = {durations[name]["count"] for name in ("compute_input", "compute_infer", "compute_output")}
            assert len(counts) == 1


def test_unused_model_has_zeros() -> None:
    (body,) = statistics.build_statistics([(build_served_model(), InferenceStatistics(), {})])["model_stats"]
    assert (body["last_inference"], body["inference_count"], body["execution_count"]) == (0, 0, 0)
    assert body["batch_stats"] == []
    assert body["memory_usage"] == []


def test_memory_is_listed_by_device() -> None:
    (body,) = statistics.build_statistics([(build_served_model(), InferenceStatistics(), {"cuda:1": 300, "cpu": 20})])[
        "model_stats"
    ]
    assert body["memory_usage"] == [
        {"type": "CPU", "id": 0, "byte_size": 20},
        {"type": "GPU", "id": 1, "byte_size": 300},
    ]
