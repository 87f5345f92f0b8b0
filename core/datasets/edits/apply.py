"""Applies the operations of an edit to a selection of samples."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn, assert_never

import numpy as np

from core.datasets.digests import group_equal
from core.datasets.edits.class_plan import normalize_class, update_classes
from core.datasets.edits.operations import (
    CapPerClassSpec,
    DropBlankSpec,
    DropClassesSpec,
    DropConflictsSpec,
    DropDuplicatesSpec,
    DropSamplesSpec,
    KeepClassesSpec,
    MoveSamplesSpec,
    OperationBase,
    OperationSpec,
    RelabelSpec,
    RenameClassesSpec,
    SampleReference,
)
from core.datasets.edits.selection import Index, SampleSelection
from core.datasets.packed import SPLITS
from core.datasets.split_names import normalize_name
from core.errors import InvalidSpec
from core.spec.error_pointers import format_unknown_name, quote_name

_STREAM = 0xCA9  # seeds a random stream, together with the seed of the operation
_PRIORITIES = {"held_out": ("test", "valid", "train"), "train": ("train", "valid", "test")}


class OperationResult(NamedTuple):
    """The number of samples that an operation removed or changed."""

    kind: str
    num_samples: int


def apply_operations(selection: SampleSelection, operations: Sequence[OperationSpec]) -> list[OperationResult]:
    """Apply the operations in order. Return what each of them changed.

    Raises:
        InvalidSpec: a sample does not exist, or no training samples remain. `extra["operation"]` is the index of the
            operation.
    """
    results = []
    for index, operation in enumerate(operations):
        num_before = selection.num_retained
        num_changed = _apply_operation(selection, operation, index)
        num_samples = num_before - selection.num_retained + num_changed
        results.append(OperationResult(operation.kind, num_samples))
        if not num_samples and not isinstance(operation, RenameClassesSpec):
            selection.warnings.append(f"Operation {index} ({operation.kind}) changed no sample.")
        if not (selection.is_retained & (selection.split_codes == SPLITS.index("train"))).any():
            raise_operation_error(index, "", "leaves no training sample", code="edit_empties_train")
    return results


def raise_operation_error(index: int, pointer: str, reason: str, *, code: str) -> NoReturn:
    """Raise InvalidSpec for an operation. The hint contains the index of the operation."""
    location = f"/operations/{index}{pointer}"
    raise InvalidSpec(
        f"{location}: {reason}",
        errors=[(location, reason)],
        code=code,
        hint=f"Change operation {index} (counted from 0) and post the edit again.",
        operation=index,
    )


def _apply_operation(selection: SampleSelection, operation: OperationSpec, index: int) -> int:
    """Apply one operation. Return the number of samples that it changed without removing them."""
    match operation:
        case DropDuplicatesSpec():
            _drop_duplicates(selection, operation)
        case DropConflictsSpec():
            _drop_conflicts(selection)
        case DropBlankSpec():
            selection.is_retained &= ~selection.is_blank
        case DropSamplesSpec():
            selection.is_retained[_find_samples(selection, operation, index)] = False
        case MoveSamplesSpec():
            return _move_samples(selection, operation, index)
        case RelabelSpec():
            return _relabel_samples(selection, operation, index)
        case RenameClassesSpec() | KeepClassesSpec() | DropClassesSpec():
            return _map_labels(selection, operation)
        case CapPerClassSpec():
            _cap_classes(selection, operation)
        case _:
            assert_never(operation)
    return 0


def _drop_duplicates(selection: SampleSelection, operation: DropDuplicatesSpec) -> None:
    at = selection.list_positions()
    groups = group_equal(list(selection.digests[at].T))
    rank_by_code = np.asarray([_PRIORITIES[operation.keep].index(split) for split in SPLITS])
    ranks = rank_by_code[selection.split_codes[at]]
    best = np.full(len(at), len(SPLITS))
    np.minimum.at(best, groups, ranks)
    is_best = ranks == best[groups]
    if operation.scope == "all":
        candidates = np.flatnonzero(is_best)
        _, first = np.unique(groups[candidates], return_index=True)
        is_best = np.zeros(len(at), np.bool_)
        is_best[candidates[first]] = True
    selection.is_retained[at[~is_best]] = False


def _drop_conflicts(selection: SampleSelection) -> None:
    at = selection.list_positions()
    labels = _get_labels(selection)[at]
    groups = group_equal(list(selection.digests[at].T))
    lowest, highest = np.full(len(at), np.iinfo(np.int64).max), np.full(len(at), -1)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    selection.is_retained[at[(lowest != highest)[groups]]] = False


def _move_samples(selection: SampleSelection, operation: MoveSamplesSpec, index: int) -> int:
    at = _find_samples(selection, operation, index)
    code = SPLITS.index(operation.split)
    num_moved = int((selection.split_codes[at] != code).sum())
    selection.split_codes[at] = code
    return num_moved


def _relabel_samples(selection: SampleSelection, operation: RelabelSpec, index: int) -> int:
    at = _find_samples(selection, operation, index)
    selection.classes = update_classes(selection.classes, operation, selection.meta.table)
    label = selection.classes.index(normalize_class(operation.label, selection.meta.table))
    labels = _get_labels(selection)
    num_changed = int((labels[at] != label).sum())
    labels[at] = label
    return num_changed


def _map_labels(selection: SampleSelection, operation: OperationBase) -> int:
    """Rename, merge or remove classes. Return the number of samples whose class has another name."""
    table, labels = selection.meta.table, _get_labels(selection)
    mapping, before = operation.map_classes(selection.classes), selection.classes
    selection.classes = update_classes(before, operation, table)
    codes = {name: code for code, name in enumerate(selection.classes)}
    renamed = [mapping[name] for name in before]
    code_by_code = [-1 if name is None else codes[normalize_class(name, table)] for name in renamed]
    is_renamed = np.asarray([name is not None and name != old for name, old in zip(renamed, before, strict=True)])
    num_renamed = int(is_renamed[labels[selection.is_retained]].sum())
    # Samples that earlier operations removed may have the code -1, which stays as it is.
    labels[:] = np.where(labels < 0, -1, np.asarray(code_by_code, np.int64)[labels])
    selection.is_retained &= labels >= 0
    return num_renamed


def _cap_classes(selection: SampleSelection, operation: CapPerClassSpec) -> None:
    at = selection.list_positions()
    at = at[selection.split_codes[at] == SPLITS.index(operation.split)]
    labels = _get_labels(selection)[at]
    rng = np.random.default_rng([operation.seed, _STREAM])
    order = rng.permutation(len(at))
    grouped = order[np.argsort(labels[order], kind="stable")]  # sorted by class, in random order within each class
    counts = np.bincount(labels, minlength=len(selection.classes))
    rank = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    selection.is_retained[at[grouped[rank >= operation.max_samples]]] = False


def _get_labels(selection: SampleSelection) -> Index:
    if selection.labels is None:
        raise ValueError("the samples do not have one class each")  # `find_errors` rejects such operations
    return selection.labels


def _find_samples(selection: SampleSelection, operation: OperationBase, index: int) -> Index:
    """Return the indices of the samples that the operation names, among those that remain.

    Raises:
        InvalidSpec: a sample does not exist, or an earlier operation removed it.
    """
    references = operation.sample_references
    requested = {normalize_name(reference.name): list[int]() for reference in references}
    names = selection.names
    for at in selection.list_positions().tolist():
        if (found := requested.get(normalize_name(names[at]))) is not None:
            found.append(at)
    selected: list[int] = []
    for number, reference in enumerate(references):
        matches = list(_match_split(selection, requested[normalize_name(reference.name)], reference))
        if not matches:
            reason = _explain_unknown_sample(selection, reference)
            raise_operation_error(index, f"/samples/{number}", reason, code="edit_unknown_sample")
        selected += matches
    return np.unique(np.asarray(selected, np.int64))


def _match_split(selection: SampleSelection, found: Sequence[int], reference: SampleReference) -> Iterator[int]:
    for at in found:
        if reference.split is None or SPLITS[selection.split_codes[at]] == reference.split:
            yield at


def _explain_unknown_sample(selection: SampleSelection, reference: SampleReference) -> str:
    name = reference.name
    found = [at for at, existing in enumerate(selection.names) if existing == name]
    retained = [SPLITS[selection.split_codes[at]] for at in found if selection.is_retained[at]]
    if retained:
        return f"the sample {quote_name(name)} is in the split {retained[0]}, not in {reference.split}"
    if found:
        return f"the sample {quote_name(name)} was removed by an earlier operation"
    # The similar names of a large dataset are found among those in the same folder.
    folder = name.rpartition("/")[0]
    nearby = [each for each in selection.names if each.rpartition("/")[0] == folder] or selection.names
    return format_unknown_name("sample", name, nearby)
