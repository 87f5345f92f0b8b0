"""The rules of which parameters an optimizer treats how; what is wrong goes into a report of `fitting`."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from core.spec.optimizers import CompositeOptimizerSpec, GroupedSpec, OptimizerSpec

AT = "/optimizer"
WITHOUT_MOMENTUM = frozenset({"adagrad", "adadelta", "adafactor", "asgd", "lbfgs", "muon", "rprop"})
MAX_NAMES = 30


class Findings(Protocol):
    def add(self, pointer: str, reason: str) -> None: ...


def optimizers_without_momentum(optimizer: OptimizerSpec) -> str | None:
    """`'adagrad' and 'muon' have`, where none has a momentum that a schedule could move; else None."""
    parts = (
        [part.optimizer for part in optimizer.parts] if isinstance(optimizer, CompositeOptimizerSpec) else [optimizer]
    )
    names = {part.name for part in parts}
    if not names <= WITHOUT_MOMENTUM:
        return None
    return f"{' and '.join(map(repr, sorted(names)))} {'has' if len(names) == 1 else 'have'}"


def check_parameters(optimizer: OptimizerSpec, names: Sequence[str], report: Findings) -> None:
    """Every pattern matches some of the network's parameters, and of several optimizers each has some.

    `names` are those of the parameters; none if the network could not be built.
    """
    if not isinstance(optimizer, CompositeOptimizerSpec):
        _check_groups(optimizer, names, AT, report)
    elif names:
        _check_parts(optimizer, names, report)


def _check_parts(optimizer: CompositeOptimizerSpec, names: Sequence[str], report: Findings) -> None:
    left = list(names)
    for index, part in enumerate(optimizer.parts):
        at = f"{AT}/parts/{index}"
        own = [name for name in left if fnmatchcase(name, part.match)]
        left = [name for name in left if not fnmatchcase(name, part.match)]
        if own:
            _check_groups(part.optimizer, own, f"{at}/optimizer", report)
        elif check_pattern(f"{at}/match", part.match, names, report):
            reason = f"parts before it have all that {part.match!r} matches; put narrower patterns first"
            report.add(f"{at}/match", reason)
    if left:
        report.add(f"{AT}/parts", f"no part matches {_listed(left)}; let the last one match '*'")


def _check_groups(optimizer: OptimizerSpec, names: Sequence[str], at: str, report: Findings) -> None:
    if isinstance(optimizer, GroupedSpec):
        for index, group in enumerate(optimizer.groups):
            check_pattern(f"{at}/groups/{index}/match", group.match, names, report)


def check_pattern(pointer: str, pattern: str, names: Sequence[str], report: Findings) -> bool:
    """Whether the pattern matches one of the names, or there are none because the network could not be built."""
    if not names or any(fnmatchcase(name, pattern) for name in names):
        return True
    report.add(pointer, f"no parameter matches {pattern!r}; there are {_listed(names)}")
    return False


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (" and others" if len(names) > MAX_NAMES else "")
