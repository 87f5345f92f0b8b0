"""Requests of the SDK that edit, compare and export dataset versions."""

from pathlib import Path
from typing import Any

import pytest

from candela import CandelaError, Client

EXPORT = "GET /v1/datasets/pets/versions/2/export"


def test_an_edit_posts_the_operations_once(server: Any, client: Client) -> None:
    server.json("POST /v1/datasets/digits/versions/1/edits", {"version": 4, "state": "importing"}, 202)
    operations: list[dict[str, Any]] = [{"kind": "drop_blank"}, {"kind": "keep_classes", "classes": ["0", "1"]}]
    assert client.datasets.edit("digits", 1, operations, new_name="few")["version"] == 4
    assert server.seen[0].json() == {"operations": operations, "name": "few"}
    server.answers["POST /v1/datasets/digits/versions/1/edits"].clear()
    server.problem("POST /v1/datasets/digits/versions/1/edits", 503, "unavailable")
    with pytest.raises(CandelaError):
        client.datasets.edit("digits", 1, operations)
    assert len(server.seen) == 2, "a failed edit is not repeated: it may have been accepted"


def test_a_diff_names_the_base_version(server: Any, client: Client) -> None:
    server.json("GET /v1/datasets/pets/versions/3/diff", {"num_unchanged": 7})
    assert client.datasets.diff("pets", 1, 3)["num_unchanged"] == 7
    client.datasets.diff("pets", 1, 3, base_name="dogs", by="names")
    assert [seen.query for seen in server.seen] == [
        {"base": "1", "by": "content"},
        {"base": "1", "by": "names", "base_name": "dogs"},
    ]


def test_an_export_is_downloaded_completely_or_not_at_all(server: Any, client: Client, tmp_path: Path) -> None:
    server.stream(EXPORT, "zip bytes", "application/zip")
    sizes: list[int] = []
    path = client.datasets.export("pets", 2, tmp_path, progress=sizes.append)
    assert (path.name, path.read_bytes(), sizes) == ("pets-2.zip", b"zip bytes", [9])
    server.answers[EXPORT].clear()
    server.problem(EXPORT, 404, "not-found")
    with pytest.raises(CandelaError):
        client.datasets.export("pets", 2, tmp_path / "other.zip")
    assert [each.name for each in tmp_path.iterdir()] == ["pets-2.zip"]
