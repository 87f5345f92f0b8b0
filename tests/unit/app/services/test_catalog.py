"""The catalog of architectures, datasets and parts of a spec."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from app.services.catalog import SPEC_UNIONS, build_catalog, list_union_members
from core.spec.base import Spec
from tests.support.validation import NETWORKS


class FirstSpec(Spec):
    """The first."""

    name: Literal["first"] = "first"


class SecondSpec(Spec):
    """The second."""

    name: Literal["second"] = "second"


def test_union_members_are_found_in_nested_annotations() -> None:
    union = Annotated[Annotated[FirstSpec | SecondSpec, Field(discriminator="name")], "note"]
    assert list(list_union_members(union)) == [FirstSpec, SecondSpec]


@pytest.mark.parametrize("part", [*SPEC_UNIONS, "architectures", "datasets"])
def test_every_entry_has_a_summary_and_a_schema_without_its_name(part: str) -> None:
    entries = build_catalog(NETWORKS.list_architectures())[part]
    assert entries
    for entry in entries:
        assert entry.summary, entry.name
        assert "name" not in entry.options["properties"]


def test_source_is_separate_from_the_summary() -> None:
    (adam,) = [entry for entry in build_catalog({})["optimizers"] if entry.name == "adam"]
    assert "Source" not in adam.summary
    assert "Kingma" in str(adam.source)
