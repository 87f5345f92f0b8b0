"""Finds the commands and methods that users of other tools call by another name."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

MAX_SUGGESTIONS = 3
ROOT = ""
"""The place of the commands that belong to no group, and of the client's own methods."""

SYNONYMS: dict[str, str] = {
    "submit": "train fit run create new launch start post add enqueue schedule evaluate",
    "sweep": "tune search optimize hpo sweeps.create sweeps.submit sweeps.new sweeps.run sweeps.start sweeps.add",
    "create": "submit new run start post launch",
    "dry_run": "validate check lint plan",
    "add": "upload import push put post new insert",
    "register": "upload import push put post new publish save add create",
    "list": "ls all index find search query",
    "jobs": "ls list ps runs experiments history queue",
    "models": "ls list registry",
    "datasets": "ls list data",
    "show": "get info inspect view details describe status",
    "get": "show info inspect view details describe status find load open retrieve fetch",
    "delete": "rm remove del drop destroy purge",
    "cancel": "stop kill abort terminate interrupt",
    "watch": "follow monitor attach stream wait",
    "wait": "join block",
    "logs": "log output tail stdout",
    "log_lines": "log output tail stdout",
    "metrics": "scores results plot history",
    "metrics_frame": "to_frame to_pandas dataframe history",
    "download": "pull fetch save",
    "download_artifact": "download pull fetch save",
    "download_weights": "weights save_weights state_dict",
    "predict": "infer inference classify score invoke test",
    "embed": "embedding embeddings encode extract features",
    "explain": "gradcam heatmap saliency interpret attribution",
    "clone": "copy cp duplicate fork rerun retry restart repeat",
    "resume": "continue unpause restart unfreeze",
    "pause": "suspend hold",
    "alias": "promote stage deploy set_alias tag",
    "set_alias": "promote stage deploy alias tag",
    "annotate": "tag label note comment",
    "set_tags": "tag tags label annotate",
    "set_note": "note comment annotate",
    "describe": "tag label note comment annotate",
    "bundle": "download pull fetch save",
    "download_bundle": "download pull fetch save bundle",
    "create_variant": "convert quantize onnx compile optimize",
    "export": "convert onnx download pull",
    "preview": "image view head peek",
    "report": "stats statistics summary profile",
    "catalog": "components architectures optimizers losses callbacks schedules transforms options schema",
    "system": "info status health devices gpus stats",
    "is_ready": "ping health ready is_alive is_healthy",
    "whoami": "login auth ping config",
    "up": "start server service",
    "doctor": "check diagnose verify",
    "migrate": "upgrade db init",
    "--version": "version",
    "--help": "help usage",
    "state": "status",
    "is_finished": "done finished is_done completed",
}
"""Other tools' words for each command and method. `sweeps.create` is the word `create` in the group `sweeps`."""


def find_synonyms(word: str, place: str = ROOT) -> list[str]:
    """Return the names that other tools call `word` in a place, in the order of the table."""
    special = [name for name, others in SYNONYMS.items() if f"{place}.{word}" in others.split()]
    return special or [name for name, others in SYNONYMS.items() if word in others.split()]


def suggest_paths(
    word: str, place: str, names: Mapping[str, Collection[str]], *, next_word: str = ""
) -> list[tuple[str, str]]:
    """Return up to `MAX_SUGGESTIONS` pairs of place and name that an unknown word may mean.

    The place where the word was used comes first, then the root, then the other places.

    Args:
        word: the unknown name, for example `upload`, `list_models` or `upload-dataset`.
        place: where it was used.
        names: the existing names of each place.
        next_word: the argument after it, which may be a place, as in `list models`.
    """
    verb, _, rest = word.replace("-", "_").partition("_")
    target = _find_place(rest or next_word, names)
    if target != ROOT and (found := _list_existing([verb, *find_synonyms(verb, target)], target, names)):
        return found[:1]
    normal_form = word.replace("-", "_")
    candidates = find_synonyms(normal_form, place)
    if place != ROOT and (found := _list_existing(candidates, place, names)):
        return found[:MAX_SUGGESTIONS]
    if found := _list_existing([normal_form, *candidates], ROOT, names):
        return found[:MAX_SUGGESTIONS]
    for candidate in (normal_form, *candidates):
        if found := [pair for other in names for pair in _list_existing([candidate], other, names)]:
            return found[:MAX_SUGGESTIONS]
    return []


def _find_place(noun: str, names: Mapping[str, Collection[str]]) -> str:
    """Return the place that a noun such as `model` or `models` means, or ""."""
    return next((place for place in (noun, f"{noun}s") if place in names), ROOT)


def _list_existing(
    candidates: Collection[str], place: str, names: Mapping[str, Collection[str]]
) -> list[tuple[str, str]]:
    existing = {name.replace("-", "_"): name for name in names[place]}
    normal_forms = [candidate.replace("-", "_") for candidate in candidates]
    return [(place, existing[form]) for form in normal_forms if form in existing]


class SuggestsNames:
    """An object of the SDK. The error of an unknown attribute names the one that other tools call so."""

    if not TYPE_CHECKING:  # for a type checker, each attribute would exist

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{_suggest(self, name)}")


def _suggest(instance: object, name: str) -> str:
    if name.startswith("_"):
        return ""
    attributes = vars(instance)
    if name in attributes.get("response", {}):
        return f"; it is in response[{name!r}]"
    resources = {key: value for key, value in attributes.items() if isinstance(value, SuggestsNames)}
    names = {ROOT: _list_names(instance)} | {key: _list_names(resource) for key, resource in resources.items()}
    found = [".".join(filter(None, path)) for path in suggest_paths(name, ROOT, names)]
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _list_names(instance: object) -> list[str]:
    return [name for name in dir(type(instance)) if not name.startswith("_")]
