"""Finds the names of this service that other tools call by another name, or write in another way.

Names are compared without case, punctuation, package and common prefixes: `RandomHorizontalFlip`,
`transform_random_horizontal_flip` and `v2.RandomHorizontalFlip` are one alias.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from core.spec.name_aliases import ALIASES

MAX_LENGTH = 64  # characters of a name that are compared
_PREFIXES = (
    "luz_callback_", "luz_metric_", "luz_", "keras_callbacks_", "callback_", "optimizer_", "loss_", "metric_",
    "metrics_", "transform_", "layer_", "activation_", "model_", "nnf_", "nn_", "optim_", "lr_",
    "learning_rate_schedule_", "application_",
)  # fmt: skip
_SUFFIXES = ("loss", "callback", "optimizer", "scheduler", "schedule", "layer", "lr", "metric", "spec")
_SPLITS = {
    "validation": "valid",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
    "training": "train",
    "train": "train",
}
_COMPONENTS = {
    "transforms": "the transform", "metrics": "the metric", "losses": "the loss", "optimizers": "the optimizer",
    "schedules": "the schedule", "callbacks": "the callback",
}  # fmt: skip
_NOT_WORD = re.compile(r"[^a-z0-9]")


def normalize_name(name: str) -> str:
    """Return a name in lower case without punctuation."""
    return _NOT_WORD.sub("", name[:MAX_LENGTH].lower())


def _build_targets() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the names that each alias may mean, by kind and normal form of the alias."""
    targets: dict[str, dict[str, tuple[str, ...]]] = {}
    for kind, names in ALIASES.items():
        by_alias = targets.setdefault(kind, {})
        for target, aliases in names.items():
            for alias in map(normalize_name, aliases.split()):
                by_alias[alias] = (*by_alias.get(alias, ()), target)
    return targets


_TARGETS = _build_targets()


def find_aliased_names(name: str, valid_names: Sequence[str]) -> list[str]:
    """Return the valid names that other tools call `name`, or that differ from it only in case, punctuation or prefix.

    A name such as `optimizer.lr` is valid if `optimizer` is.
    """
    candidates = list(_iterate_candidates(name))
    by_normal_form: dict[str, str] = {}
    for valid in valid_names:
        by_normal_form.setdefault(normalize_name(valid), valid)
    for candidate in candidates:
        if candidate in by_normal_form:
            return [by_normal_form[candidate]]
    available = set(valid_names)
    for candidate in candidates:
        for targets in _TARGETS.values():
            if found := [target for target in targets.get(candidate, ()) if target.partition(".")[0] in available]:
                return found
    return _find_curves(name, available)


def find_other_component(name: str) -> str:
    """Return the component of another kind that other tools call `name`, such as `the schedule 'plateau'`, or ""."""
    for candidate in _iterate_candidates(name):
        for kind, title in _COMPONENTS.items():
            if targets := _TARGETS[kind].get(candidate):
                return f"{title} {targets[0]!r}"
    return ""


def is_loss_curve(name: str) -> bool:
    """Return whether a name such as `val_loss` is the loss of a split, which other tools list with the metrics."""
    normal_form = normalize_name(name)
    return normal_form.endswith("loss") and normal_form.removesuffix("loss") in ("", "eval", "test", *_SPLITS)


def _iterate_candidates(name: str) -> Iterator[str]:
    """Yield the normal forms of a name: the whole name, without its package, and without prefixes and suffixes."""
    short = re.split(r"[.:/$]", name[:MAX_LENGTH])[-1]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()
    forms = [name, short]
    forms += [snake.removeprefix(prefix) for prefix in _PREFIXES if snake.startswith(prefix)]
    normal_forms = dict.fromkeys(map(normalize_name, forms))
    yield from normal_forms
    for form in normal_forms:
        for suffix in _SUFFIXES:
            if form.endswith(suffix) and form != suffix:
                yield form.removesuffix(suffix)


def _find_curves(name: str, available: Iterable[str]) -> list[str]:
    """Return the curve that a name such as `val_acc` means."""
    parts = re.split(r"[_/. -]", name[:MAX_LENGTH].lower(), maxsplit=1)
    split, metric = _SPLITS.get(parts[0]), parts[-1]
    metrics = [metric, *_TARGETS["metrics"].get(normalize_name(metric), ())]
    splits: tuple[str, ...]
    if split is None:  # Keras names the training's curves without a prefix
        splits, metrics = ("train", "valid"), [name.lower(), *_TARGETS["metrics"].get(normalize_name(name), ())]
    else:
        splits = (split,)
    return [curve for each in metrics for one in splits if (curve := f"{one}_{each}") in available]
