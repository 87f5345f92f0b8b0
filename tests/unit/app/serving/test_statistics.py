"""Counts and durations of a model's requests and batches."""

from app.serving.statistics import InferenceStatistics, StatisticDuration


def test_durations_add_up() -> None:
    duration = StatisticDuration().add_event(0.5).add_event(1.0)
    assert duration == StatisticDuration(2, 1_500_000_000)
    assert duration + duration == StatisticDuration(4, 3_000_000_000)


def test_requests_are_counted_by_their_result() -> None:
    statistics = InferenceStatistics(clock=lambda: 12.5)
    statistics.count_request(1.0, succeeded=True)
    statistics.count_request(2.0, succeeded=False)
    statistics.count_wait(0.25)
    statistics.count_decoding(0.125)
    assert statistics.success == StatisticDuration(1, 1_000_000_000)
    assert statistics.fail == StatisticDuration(1, 2_000_000_000)
    assert (statistics.queue.ns, statistics.decode.ns) == (250_000_000, 125_000_000)
    assert statistics.last_inference_ms == 12_500


def test_batches_are_listed_by_size() -> None:
    statistics = InferenceStatistics()
    for size in (4, 1, 4):
        statistics.count_batch(size, 1.0)
    assert [(size, duration.count) for size, duration in statistics.list_batches()] == [(1, 1), (4, 2)]
