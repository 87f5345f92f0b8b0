"""Recognizes the names of split folders, such as `train`, `Validation`, `seg_test` or `val2017`."""

import re
import unicodedata

_SPLITS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "trainval": "train",
    "valid": "valid",
    "validate": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "eval": "valid",
    "evaluation": "valid",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "holdout": "test",
}
# Words that are written together with the name of a split: `trainset`, `TestImages`.
_JOINED = r"(?:sets?|data|datasets?|imgs?|images?|pictures?|photos?|files?|dir|folder|split|samples?)"
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_HOLD_OUT = re.compile(r"(?<![^\W\d_])hold[\W_]+out|held[\W_]*out", re.IGNORECASE)
_JOINED_NAME = re.compile(rf"({'|'.join(sorted(_SPLITS, key=len, reverse=True))}){_JOINED}", re.IGNORECASE)
_OPPOSITES = ("invalid", "untest", "latest", "contest", "protest")  # words that only end like the name of a split


def normalize_name(name: str) -> str:
    """Return the name in Unicode normalization form NFC. macOS decomposes accented letters, other systems do not."""
    return unicodedata.normalize("NFC", name)


def parse_split_name(name: str) -> str | None:
    """Return the split that a folder name means: "train", "valid", "test", or None if it is not the name of a split.

    Case is ignored. The first or the last word of the name must be the name of a split. A name such as `train_val`,
    which begins with one split and ends with another, is not the name of a split.
    """
    tokens = _WORD.findall(_HOLD_OUT.sub("holdout", _CAMEL_CASE.sub("_", name)))
    if not tokens:
        return None
    found = {split for word in (tokens[0], tokens[-1]) if (split := _parse_word(word))}
    return found.pop() if len(found) == 1 else None


def is_plain_split_name(name: str) -> bool:
    """Return whether the whole name is the name of a split, unlike `train station` or `test_tube`."""
    return name.casefold() in _SPLITS


def guess_split(name: str) -> str | None:
    """Return the split if the name starts or ends with the name of a split, for example `mytrain`.

    Many other words do so too. Use this only for folders that contain the same class folders as a training folder.
    """
    if split := parse_split_name(name):
        return split
    folded = name.casefold()
    if any(folded.endswith(word) for word in _OPPOSITES):
        return None
    found = {_SPLITS[word] for word in _SPLITS if folded.startswith(word) or folded.endswith(word)}
    return found.pop() if len(found) == 1 else None


def _parse_word(word: str) -> str | None:
    folded = word.casefold()
    joined = None if folded in _SPLITS else _JOINED_NAME.fullmatch(folded)
    return _SPLITS.get(joined.group(1) if joined else folded)
