"""Limits of bytes and time while an archive is read."""

import io

import pytest

from core.datasets.archives.budget import CountingReader, InspectionCancelled, InspectionEnded, QuickCheck, ReadBudget
from core.datasets.archives.limits import UploadLimits
from core.errors import InvalidArchive

LIMITS = UploadLimits(max_bytes=1000, max_ratio=2, ratio_floor=100)


def test_bytes_are_limited_by_size_and_by_ratio() -> None:
    budget = ReadBudget(10**6, LIMITS)
    budget.add_bytes(1000)
    with pytest.raises(InvalidArchive, match="more than 1000 bytes"):
        budget.add_bytes(1)
    with pytest.raises(InvalidArchive, match="2 times its size"):
        ReadBudget(10, LIMITS).add_bytes(101)


def test_a_declared_size_is_checked_without_being_added() -> None:
    budget = ReadBudget(10**6, LIMITS)
    budget.add_bytes(400)
    budget.check_declared_size(600)
    with pytest.raises(InvalidArchive, match="more than 1000 bytes"):
        budget.check_declared_size(601)
    assert budget.total == 400


def test_a_quick_check_ends_at_its_bytes_or_its_time() -> None:
    times = iter([1.0, 5.0, 5.1])
    check = QuickCheck(max_bytes=50, ends_at=5.0, is_cancelled=lambda: False, clock=lambda: next(times))
    check.check(50)
    with pytest.raises(InspectionEnded):
        check.check(51)
    check.check(50)
    with pytest.raises(InspectionEnded):
        ReadBudget(10**6, LIMITS, check).check_time()


def test_a_cancelled_check_ends_at_the_next_read() -> None:
    check = QuickCheck(max_bytes=50, ends_at=5.0, is_cancelled=lambda: True, clock=lambda: 0.0)
    reader = CountingReader(io.BytesIO(b"abc"), ReadBudget(10**6, LIMITS, check))
    with pytest.raises(InspectionCancelled):
        reader.read(1)


def test_a_reader_counts_bytes_and_remembers_the_last_block() -> None:
    budget = ReadBudget(10**6, LIMITS._replace(max_bytes=10**7))
    reader = CountingReader(io.BytesIO(bytes(2**20) + b"x" * 10), budget)
    assert len(reader.read(2**22)) == 2**20  # a single read is bounded
    assert reader.read(2**22) == b"x" * 10
    assert budget.total == 2**20 + 10
    assert reader.last_block == bytes(502) + b"x" * 10
