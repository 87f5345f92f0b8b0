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


def kinds(of: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """All errors that leave as problems; `/v2` has its protocol's own form."""
    yield of
    for kind in of.__subclasses__():
        if not kind.__module__.startswith("app.oip"):
            yield from kinds(kind)


def explained() -> dict[str, int]:
    """The status that the page gives to every slug."""
    found = re.findall(r"^## (\S+)\n\n(\d{3})\.", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {slug: int(status) for slug, status in found}


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_every_error_is_explained_with_its_status(kind: type[ServiceError]) -> None:
    assert explained()[kind.slug] == get_status(kind)


@pytest.mark.parametrize(("status", "slug"), [(status, slug) for status, (slug, _) in HTTP_PROBLEMS.items()])
def test_every_http_problem_is_explained_with_its_status(status: int, slug: str) -> None:
    assert explained()[slug] == status


def test_slugs_are_distinct_and_only_used_ones_are_explained() -> None:
    slugs = [kind.slug for kind in kinds() if kind.__module__ == errors.__name__]
    assert len(slugs) == len(set(slugs))
    assert set(explained()) == {*slugs, *(slug for slug, _ in HTTP_PROBLEMS.values())}


def test_the_nearest_ancestor_with_a_status_wins() -> None:
    assert get_status(errors.DatasetNotReady) == STATUS[errors.Conflict]
    assert get_status(errors.CorruptFile) == 500
