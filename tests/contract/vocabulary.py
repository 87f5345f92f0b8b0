"""Measures the identifiers of the packages against the project's vocabulary: `python -m tests.contract.vocabulary`.

Give folders or files to measure only those: `python -m tests.contract.vocabulary worker/engine core/db`.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "worker", "models", "core", "candela")

DENIED = {  # sub-word -> what the field says
    "anew": "again",
    "answer": "response (HTTP, IPC), result (job)",
    "answers": "responses, results",
    "arena": "shared_memory_pool, buffer",
    "ask": "request",
    "asked": "requested, config",
    "asks": "requests",
    "beside": "next_to, to_device_of",
    "began": "started_at",
    "begin": "start (the hooks on_*_begin are torchtnt's)",
    "beginning": "initial_state, warm_start, resume",
    "begun": "resume_source, started",
    "came": "received_at",
    "drawings": "plots",
    "draws": "random_params",
    "errand": "tuning",
    "errands": "tuning",
    "examination": "evaluation",
    "facts": "extra (errors), info, stats",
    "given": "options, provided",
    "goes": "continues",
    "heart": "lease_renewer, heartbeat",
    "hear": "receive, on_message",
    "heard": "received, on_batch",
    "held": "locked, buffered",
    "hot": "fast_path",
    "kept": "retained",
    "kick": "wake",
    "known": "existing, cached",
    "lane": "instance",
    "lanes": "instances",
    "leash": "parent_death",
    "lent": "allocated",
    "lies": "is_at",
    "mass": "total_weight",
    "meeting": "rendezvous",
    "nobody": "noop, none",
    "obey": "stop",
    "obedience": "stop_request",
    "pace": "progress",
    "patience": "timeouts",
    "picture": "image",
    "pictures": "images",
    "piece": "chunk",
    "pieces": "chunks",
    "pulse": "heartbeat",
    "question": "request",
    "questions": "requests",
    "rehearsal": "finder_run",
    "rehearse": "finder_run",
    "relief": "oom_recovery",
    "said": "message",
    "say": "send",
    "says": "sends",
    "shown": "displayed, evaluated",
    "tally": "accumulator, statistics",
    "tell": "report, notify, publish",
    "tells": "reports",
    "told": "recorded, reported",
    "twins": "duplicates",
    "usual": "default",
    "wanted": "requested",
    "whoever": "caller",
    "whose": "labels, owner",
    "wish": "stop_request",
    "wishes": "stop_requests",
    "words": "metadata, to_dict",
}

# (file or folder, identifier) -> reason. A reason names who else uses the word so, or why it cannot change.
ALLOWED: dict[tuple[str, str], str] = {
    ("app/serving/types.py", "with_output"): "a copy with one changed field, as with_* in other libraries",
    ("candela/errors.py", "Unauthorized"): "the name of HTTP status 401",
    ("core/datasets/packed.py", "packed"): "the packed dataset is a term of this project",
    ("core/errors.py", "Overloaded"): "the state of a server, as in gRPC and Envoy",
    ("core/errors.py", "Unauthorized"): "the name of HTTP status 401",
    ("worker/engine/distributed.py", "distributed"): "the name of torch.distributed",
    ("app/schemas", "facts"): "a field of public responses (RFC 9457 problems)",
    ("core/datasets/builtin/tiny_imagenet.py", "words"): "a public, stored option of the dataset",
    ("core/spec/callbacks.py", "patience"): "early stopping's parameter in Keras, Lightning and luz",
    ("core/spec/schedules.py", "patience"): "ReduceLROnPlateau's parameter in torch",
    ("models/preprocess.py", "_encode_one_hot"): "one-hot is the field's term for this encoding",
    (
        "worker/engine/callbacks/early_stopping.py",
        "_patience",
    ): "early stopping's parameter in Keras, Lightning and luz",
    ("worker/engine/callbacks/early_stopping.py", "patience"): "early stopping's parameter in Keras, Lightning and luz",
}

IRREGULAR_PARTICIPLES = frozenset(  # words in one string, since forty quoted ones are harder to read
    "begun bought built chosen drawn forgotten found frozen given heard held hidden kept known laid led left lent lost "
    "made met paid said seen sent shown sold sought spent spoken taken taught thought thrown told understood won "
    "written".split()
)
NOT_PARTICIPLES = frozenset("embed exceed feed need proceed seed shed speed".split())
PREPOSITIONS = frozenset(
    "about above after as at because before behind below beside between by during for in inside into like near of "
    "off out over per since than through till under unless until upon via while with within without".split()
)
BOOLEAN_PREFIXES = frozenset("is has can should was are".split())


class Identifier(NamedTuple):
    """A name that the source defines, with the place of its first definition in the file."""

    path: str
    line: int
    kind: str  # "module", "class", "function", "argument", "variable"
    name: str

    @property
    def sub_words(self) -> list[str]:
        """The sub-words in lower case: `decodeRequest`, `decode_request` and `DecodeRequest` have the same."""
        return split_identifier(self.name)


@dataclass(frozen=True)
class Figures:
    """Shares of the functions and methods (dunder methods left out), in percent."""

    num_functions: int
    one_word: float
    participles: float
    contains_of: float
    prepositions: float
    denied: int

    def __str__(self) -> str:
        return (
            f"{self.num_functions} functions: {self.one_word:.1f} % of one word, {self.participles:.1f} % participles, "
            f"{self.contains_of:.1f} % with `of`, {self.prepositions:.1f} % leading prepositions; "
            f"{self.denied} identifiers with a denied word"
        )


def split_identifier(name: str) -> list[str]:
    """Return the sub-words of an identifier in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def is_participle(word: str) -> bool:
    """Return whether a sub-word is a past participle."""
    return word in IRREGULAR_PARTICIPLES or (word.endswith("ed") and len(word) > 4 and word not in NOT_PARTICIPLES)


def list_files(targets: Iterable[str] = PACKAGES) -> list[Path]:
    """Return the Python files below the targets, which are relative to the repository."""
    paths = [ROOT / target for target in targets]
    return [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def list_identifiers(file: Path) -> Iterator[Identifier]:
    """Yield every name that a file defines, once a kind."""
    path = str(file.relative_to(ROOT))
    yield Identifier(path, 1, "module", file.stem)
    seen: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for kind, name in _definitions(node):
            is_function = kind in {"function", "class"}
            if is_function or (kind, name) not in seen:
                seen.add((kind, name))
                yield Identifier(path, getattr(node, "lineno", 1), kind, name)


def _definitions(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield "function", name
        case ast.ClassDef(name=name):
            yield "class", name
        case ast.arg(arg=name):
            yield "argument", name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield "variable", name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
            yield "variable", name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (("variable", alias.asname) for alias in aliases if alias.asname)
        case _:
            pass


def is_allowed(identifier: Identifier) -> bool:
    """Return whether this is a hook of the training loop, or an exception for its file or a folder above it."""
    if re.fullmatch(r"on_\w+_begin", identifier.name):  # torchtnt's names of hooks
        return True
    places = [identifier.path, *(str(parent) for parent in Path(identifier.path).parents)]
    return any((place, identifier.name) in ALLOWED for place in places)


def find_denied(identifiers: Iterable[Identifier]) -> list[str]:
    """Return a line for every identifier with a denied sub-word, with the replacement."""
    return [
        f"{found.path}:{found.line}: {found.kind} {found.name}: not `{word}` but {DENIED[word]}"
        for found in identifiers
        if not is_allowed(found)
        for word in found.sub_words
        if word in DENIED
    ]


def measure(identifiers: Iterable[Identifier]) -> Figures:
    """Return the figures of the functions among the identifiers."""
    every = list(identifiers)
    functions = [
        f.sub_words for f in every if f.kind == "function" and not re.fullmatch(r"__\w+__", f.name) and f.sub_words
    ]
    count = len(functions) or 1

    def share(hits: Iterable[bool]) -> float:
        return 100 * sum(hits) / count

    return Figures(
        num_functions=len(functions),
        one_word=share(len(words) == 1 for words in functions),
        participles=share(has_participle(words) for words in functions),
        contains_of=share("of" in words for words in functions),
        prepositions=share(words[0] in PREPOSITIONS for words in functions),
        denied=len(find_denied(every)),
    )


def has_participle(words: list[str]) -> bool:
    """Return whether a function's name is, opens or ends with a past participle. Booleans may: `is_closed`."""
    return words[0] not in BOOLEAN_PREFIXES and (is_participle(words[0]) or is_participle(words[-1]))


def main() -> None:
    """Print the figures, then the functions and names that they count."""
    targets = sys.argv[1:] or list(PACKAGES)
    identifiers = [identifier for file in list_files(targets) for identifier in list_identifiers(file)]
    lines = find_denied(identifiers)
    for found in identifiers:
        if found.kind != "function":
            continue
        place = f"{found.path}:{found.line}: function {found.name}"
        if has_participle(found.sub_words or [""]):
            lines.append(f"{place}: a participle")
        if "of" in found.sub_words:
            lines.append(f"{place}: `of`")
        if found.sub_words and found.sub_words[0] in PREPOSITIONS:
            lines.append(f"{place}: opens with a preposition")
    sys.stdout.write("\n".join([*sorted(lines), str(measure(identifiers))]) + "\n")


if __name__ == "__main__":
    main()
