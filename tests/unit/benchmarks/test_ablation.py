"""Tests of the ablation of recipes."""

import copy
from pathlib import Path

import pytest

from benchmarks.ablation import PARTS, build_variants, train_variant
from benchmarks.plain_training import Job
from candela.specs import read_spec
from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from models import registry
from tests.support.training import build_spec, cpu_placement

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_each_part_of_a_recipe_is_removed_alone() -> None:
    body = read_spec(EXAMPLES / "cifar10_94.yaml")
    before, variants = copy.deepcopy(body), dict(build_variants(body, 3, list(PARTS)))
    assert list(variants) == ["whole recipe", *(f"no {part}" for part in PARTS)]
    assert body == before
    specs = [JobSpec.model_validate(variant) for variant in variants.values()]
    assert len({spec.model_dump_json() for spec in specs}) == 1 + len(PARTS)


def test_parts_that_a_recipe_does_not_have_are_left_out() -> None:
    variants = dict(build_variants(read_spec(EXAMPLES / "digits_98.yaml"), 1, list(PARTS)))
    assert list(variants) == ["whole recipe", "no dirac", "no label smoothing", "no schedule"]


def test_convolution_instead_of_whitening_has_its_shape() -> None:
    body = read_spec(EXAMPLES / "cifar10_94.yaml")
    found = []
    for variant in dict(build_variants(body, 3, ["whitening"])).values():
        options = JobSpec.model_validate(variant).architecture.options
        network = registry.build_network("layers", options, (3, 32, 32), 10, ())
        found.append({name: value.shape for name, value in network.state_dict().items()})
    assert found[0] == found[1]


@pytest.mark.packed(num_samples=60)
def test_views_change_the_scores_of_the_same_network(packed: PackedDataset) -> None:
    result = train_variant(Job(build_spec(epochs=1), packed, cpu_placement()), "mirror")
    again = train_variant(Job(build_spec(epochs=1), packed, cpu_placement()), None)
    assert result.accuracy_without_views == again.accuracy_without_views == again.accuracy
