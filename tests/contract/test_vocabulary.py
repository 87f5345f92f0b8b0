"""The identifiers and the prose of the packages keep to the vocabulary: no denied word, few one-word functions."""

import pytest

from tests.contract import prose, vocabulary
from tests.contract.vocabulary import PACKAGES, Identifier, find_denied, list_files, list_identifiers, measure

MAX_ONE_WORD, MAX_PARTICIPLES, MAX_CONTAINS_OF, MAX_PREPOSITIONS = 40.0, 1.5, 0.3, 0.3


@pytest.fixture(scope="module")
def identifiers() -> list[Identifier]:
    return [identifier for file in list_files() for identifier in list_identifiers(file)]


def functions(*names: str) -> list[Identifier]:
    return [Identifier("core/x.py", 1, "function", name) for name in names]


def test_no_identifier_has_a_denied_word(identifiers: list[Identifier]) -> None:
    lines = find_denied(identifiers)
    assert not lines, "\n".join(lines)


def test_every_exception_is_used_and_has_a_reason(identifiers: list[Identifier]) -> None:
    for (place, name), reason in vocabulary.ALLOWED.items():
        assert len(reason.split()) >= 3, f"{place} {name} needs a reason"
        uses = [found for found in identifiers if found.name == name and found.path.startswith(place)]
        assert uses, f"{place} has no {name}: remove the exception"


def test_functions_are_verb_phrases(identifiers: list[Identifier]) -> None:
    figures = measure(identifiers)
    assert figures.one_word <= MAX_ONE_WORD, figures
    assert figures.participles <= MAX_PARTICIPLES, figures
    assert figures.contains_of <= MAX_CONTAINS_OF, figures
    assert figures.prepositions <= MAX_PREPOSITIONS, figures


def is_bare_participle_or_preposition(found: Identifier) -> bool:
    if found.kind not in {"class", "function", "module"} or found.name.startswith("_") or not found.sub_words:
        return False
    is_bare = len(found.sub_words) == 1 and vocabulary.is_participle(found.sub_words[0])
    return is_bare or (found.kind != "module" and found.sub_words[0] in vocabulary.PREPOSITIONS)


def test_no_class_or_public_function_is_a_bare_participle_or_preposition(identifiers: list[Identifier]) -> None:
    bad = [
        f"{found.path}:{found.line}: {found.kind} {found.name}"
        for found in identifiers
        if is_bare_participle_or_preposition(found) and not vocabulary.is_allowed(found)
    ]
    assert not bad, "\n".join(bad)


SDK_ERRORS = {"candela/errors.py", "core/errors.py"}  # an exception of the SDK has the name of the service's error


def test_public_class_names_are_unique(identifiers: list[Identifier]) -> None:
    places: dict[str, set[str]] = {}
    for found in identifiers:
        if found.kind == "class" and not found.name.startswith("_"):
            places.setdefault(found.name, set()).add(f"{found.path}:{found.line}")
    shared = {
        name: sorted(where)
        for name, where in places.items()
        if len(where) > 1 and {place.split(":")[0] for place in where} != SDK_ERRORS
    }
    assert not shared, shared


def test_prose_has_no_phrase_to_avoid() -> None:
    findings = [str(finding) for file in list_files(PACKAGES) for finding in prose.find_phrases(file)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("decode_request", ["decode", "request"]),
        ("LeaseRenewer", ["lease", "renewer"]),
        ("HTTPServer", ["http", "server"]),
        ("MAX_IMAGES", ["max", "images"]),
        ("_fsync", ["fsync"]),
    ],
)
def test_split_identifier(name: str, words: list[str]) -> None:
    assert vocabulary.split_identifier(name) == words


def test_denied_words_are_found_with_their_replacement() -> None:
    (line,) = find_denied(functions("read_picture"))
    assert line == "core/x.py:1: function read_picture: not `picture` but image"
    assert not find_denied(functions("read_image"))


def test_measure_counts_each_kind_of_name() -> None:
    names = ("run", "told", "copy_dict", "size_of", "beside_it", "is_closed", "__init__", "read_file")
    figures = measure(functions(*names))
    assert (figures.num_functions, figures.denied) == (7, 2)
    shares = (figures.one_word, figures.participles, figures.contains_of, figures.prepositions)
    assert shares == pytest.approx((200 / 7, 100 / 7, 100 / 7, 100 / 7))
