"""Every kind of problem has a status, and a page that explains it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.problems import STATUS, get_status
from app.problems.exception_handlers import HTTP_PROBLEMS
from core import errors
from core.errors import ServiceError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "problems.md"


def list_error_classes(of: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Return all error classes that become problems. `/v2` has the error form of its protocol."""
    yield of
    for kind in of.__subclasses__():
        if not kind.__module__.startswith("app.oip"):
            yield from list_error_classes(kind)


def parse_page() -> dict[str, int]:
    """Return the status of every slug on the page."""
    found = re.findall(r"^## (\S+)\n\n(\d{3})\.", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {slug: int(status) for slug, status in found}


@pytest.mark.parametrize("kind", list(list_error_classes()), ids=lambda kind: kind.__name__)
def test_every_error_is_explained_with_its_status(kind: type[ServiceError]) -> None:
    assert parse_page()[kind.slug] == get_status(kind)


@pytest.mark.parametrize(("status", "slug"), [(status, slug) for status, (slug, _) in HTTP_PROBLEMS.items()])
def test_every_http_problem_is_explained_with_its_status(status: int, slug: str) -> None:
    assert parse_page()[slug] == status


def test_slugs_are_distinct_and_only_used_ones_are_explained() -> None:
    slugs = [kind.slug for kind in list_error_classes() if kind.__module__ == errors.__name__]
    assert len(slugs) == len(set(slugs))
    assert set(parse_page()) == {*slugs, *(slug for slug, _ in HTTP_PROBLEMS.values())}


def test_the_nearest_ancestor_with_a_status_wins() -> None:
    assert get_status(errors.DatasetNotReady) == STATUS[errors.Conflict]
    assert get_status(errors.CorruptFile) == 500
