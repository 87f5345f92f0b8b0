"""The catalog of architectures, datasets and options."""

import pytest
from fastapi.testclient import TestClient

PARTS = ["architectures", "optimizers", "schedules", "losses", "metrics", "transforms", "callbacks", "datasets"]


def test_the_catalog_lists_every_component_with_its_options(client: TestClient) -> None:
    catalog = client.get("/v1/catalog").json()
    assert list(catalog) == PARTS
    for part in PARTS:
        for entry in catalog[part]:
            assert entry["name"], entry
            assert len(entry["summary"]) > 3, entry
            assert "`" not in entry["summary"].strip("`")[:1], entry
            assert entry["options"]["type"] == "object", entry
            assert "name" not in entry["options"]["properties"], entry
    adam = next(entry for entry in catalog["optimizers"] if entry["name"] == "adam")
    assert adam["options"]["properties"]["lr"]["default"] == 0.001
    assert "Kingma and Ba" in adam["source"]
    several = next(entry for entry in catalog["optimizers"] if entry["name"] == "several")
    parts = several["options"]["$defs"]["OptimizerPartSpec"]["properties"]["optimizer"]["discriminator"]["mapping"]
    assert {entry["name"] for entry in catalog["optimizers"]} - set(parts) == {"several", "lbfgs"}
    assert {"digits", "synthetic", "fashion_mnist"} <= {entry["name"] for entry in catalog["datasets"]}


@pytest.mark.parametrize("part", ["optimizers", "losses", "architectures", "datasets"])
def test_catalog_entries_have_a_source(client: TestClient, part: str) -> None:
    assert all(entry["source"] for entry in client.get("/v1/catalog").json()[part])
