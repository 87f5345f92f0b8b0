"""The id of an event has the position in each job."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.event_position import EPOCH, MAX_ENTRIES, MAX_ID_LENGTH, EventPosition
from core.db.clock import utc_now
from core.errors import InvalidSpec

NOW = utc_now()
JOB_IDS = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(st.dictionaries(JOB_IDS, st.integers(1, 2**31), max_size=20), st.integers(0, 10**17))
def test_an_id_is_decoded_to_its_position(numbers: dict[str, int], cutoff_us: int) -> None:
    position = EventPosition(EPOCH + timedelta(microseconds=cutoff_us))
    for job_id, seq in numbers.items():
        position.set_number(job_id, seq, NOW)
    decoded = EventPosition.decode(position.encode(), now=NOW)
    assert decoded.cutoff == position.cutoff
    assert {job_id: decoded.find_number(job_id) for job_id in numbers} == numbers
    assert decoded.find_number("f" * 31) is None


def test_a_later_cutoff_replaces_entries_that_are_not_later() -> None:
    position = EventPosition()
    position.set_number("a" * 32, 3, NOW)
    position.set_number("b" * 32, 4, NOW + timedelta(seconds=1))
    position.advance_cutoff(NOW)
    assert position.cutoff == NOW
    assert (position.find_number("a" * 32), position.find_number("b" * 32)) == (None, 4)


def test_an_id_has_a_maximum_length_and_omits_the_oldest_jobs() -> None:
    position = EventPosition()
    for number in range(MAX_ENTRIES + 100):
        position.set_number(f"{number:032x}"[::-1], 1, NOW + timedelta(seconds=number))
    text = position.encode()
    assert len(text) <= MAX_ID_LENGTH
    decoded = EventPosition.decode(text, now=NOW)
    remaining = [n for n in range(MAX_ENTRIES + 100) if decoded.find_number(f"{n:032x}"[::-1]) is not None]
    assert remaining == list(range(100, MAX_ENTRIES + 100))


@pytest.mark.parametrize("text", ["x", "AAAA", "_" * 11, "A" * 12, "A" * 6500])
def test_other_texts_are_rejected_with_the_header(text: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        EventPosition.decode(text, now=NOW)
    assert raised.value.errors[0][0] == "Last-Event-ID:"
