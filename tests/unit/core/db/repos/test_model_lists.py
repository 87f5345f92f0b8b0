"""Lists of models and of their versions, whose work does not grow with the number of versions."""

from functools import partial

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.db.repos import model_lists
from core.db.repos.descriptions import Description, DescriptionRepo
from core.db.repos.model_lists import MAX_NEWEST_VERSIONS, ListedModel, ModelListRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.errors import InvalidSpec
from core.jobs import ResourceKind
from tests.support.database_work import list_queries, measure_work, update_planner_statistics
from tests.support.many_jobs import add_versions


def list_numbers(model: ListedModel) -> list[int]:
    return [version.row.version for version in model.versions]


def test_pages_of_models_have_their_newest_versions(sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_lists, "MAX_NEWEST_VERSIONS", 3)
    with transaction(sessions) as session:
        for name, count in {"b": 4, "a": 2, "d": 3, "c": 9}.items():
            add_versions(session, name, count)
        models, after = ModelListRepo(session).list_models(limit=3)
        assert [(model.name, list_numbers(model), model.versions_cursor) for model in models] == [
            ("a", [2, 1], None),
            ("b", [4, 3, 2], "2"),
            ("c", [9, 8, 7], "7"),
        ]
        assert after == "c"
        models, after = ModelListRepo(session).list_models(limit=3, after="c")
        assert [(model.name, list_numbers(model), model.versions_cursor) for model in models] == [
            ("d", [3, 2, 1], None)
        ]
        assert after is None
        assert ModelListRepo(session).find_model("c") == ModelListRepo(session).list_models(after="b", limit=1)[0][0]
        assert ModelListRepo(session).find_model("e") is None


def test_pages_of_versions_have_every_version_once(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        add_versions(session, "other", 3)
        add_versions(session, "a", 7)
        numbers, cursor = list[int](), None
        for _ in range(4):
            versions, cursor = ModelListRepo(session).list_versions("a", cursor=cursor, limit=2)
            numbers += [version.row.version for version in versions]
        assert (numbers, cursor) == ([7, 6, 5, 4, 3, 2, 1], None)
        assert ModelListRepo(session).list_versions("absent") == ([], None)


@pytest.mark.parametrize("cursor", ["", "x", "0", "-1", "01", "1.5", "9" * 10, "9" * 100, "\u0661"])
def test_an_invalid_cursor_of_versions_is_rejected(sqlite_sessions: SessionFactory, cursor: str) -> None:
    with pytest.raises(InvalidSpec), transaction(sqlite_sessions, read_only=True) as session:
        ModelListRepo(session).list_versions("a", cursor=cursor)


def test_models_are_found_by_their_tags(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        for name in ("a", "b", "c", "d"):
            add_versions(session, name, 2)
        descriptions = DescriptionRepo(session, ResourceKind.MODEL)
        descriptions.change("a", 0, {"tags": ["x"], "description": "whole"})
        descriptions.change("a", 1, {"tags": ["x", "y"], "description": "first"})
        descriptions.change("c", 2, {"tags": ["y", "x"]})
        descriptions.change("d", 2, {"tags": ["x"]})
        descriptions.change("gone", 2, {"tags": ["x"]})  # its model was deleted at the same time
        repo = ModelListRepo(session)
        models, after = repo.list_models(tags=["x"], limit=2)
        assert ([model.name for model in models], after) == (["a", "c"], "c")
        assert [version.description for version in models[0].versions] == [
            Description(),
            Description("first", ["x", "y"]),
        ]
        models, after = repo.list_models(tags=["x"], limit=2, after="c")
        assert ([model.name for model in models], after) == (["d"], None)
        assert [model.name for model in repo.list_models(tags=["x", "y"])[0]] == ["a", "c"]
        assert repo.list_descriptions(["a", "c"]) == {"a": Description("whole", ["x"])}


def test_versions_are_listed_without_their_specs(sqlite_sessions: SessionFactory) -> None:
    with transaction(sqlite_sessions) as session:
        add_versions(session, "a", 1)
    statements = list_queries(sqlite_sessions, lambda session: ModelListRepo(session).list_models())
    assert all(column not in sql for sql, _ in statements for column in ("spec", "bundle", "files"))


def read_lists(session: Session) -> None:
    repo = ModelListRepo(session)
    repo.list_models()
    repo.find_model("m5")
    _, cursor = repo.list_versions("m5")
    repo.list_versions("m5", cursor=cursor)
    ModelRepo(session).require_model("m5")


def test_the_work_of_lists_does_not_grow_with_the_number_of_versions(engine: Engine, sessions: SessionFactory) -> None:
    work, statements = list[int](), list[int]()
    for count in (1000, 10_000):
        with transaction(sessions) as session:
            for row in ModelRepo(session).iterate_all_versions():
                session.delete(row)
            session.flush()
            for number in range(10):
                add_versions(session, f"m{number}", count // 10)
        update_planner_statistics(engine)
        work.append(measure_work(sessions, read_lists))
        statements.append(len(list_queries(sessions, read_lists)))
    assert work[1] <= 2 * work[0]
    assert statements == [6, 6]


def list_some(limit: int, session: Session) -> None:
    ModelListRepo(session).list_models(limit=limit)


def test_the_number_of_statements_does_not_grow_with_the_number_of_models(sqlite_sessions: SessionFactory) -> None:
    with transaction(sqlite_sessions) as session:
        for number in range(50):
            add_versions(session, f"m{number}", 2 + MAX_NEWEST_VERSIONS * (number % 2))
    counts = [len(list_queries(sqlite_sessions, partial(list_some, limit))) for limit in (1, 50)]
    assert counts == [2, 2]
