"""The rules of the weights that a training begins with; what is wrong goes into a report of `fitting`."""

from collections.abc import Mapping
from typing import Protocol

from app.serving.networks import Architecture
from core.spec import JobSpec
from core.spec.job import PRETRAINED
from core.spec.transforms import NormalizeSpec


class Findings(Protocol):
    warnings: list[str]

    def add(self, pointer: str, reason: str) -> None: ...


def check_weights(spec: JobSpec, known: Mapping[str, Architecture], report: Findings) -> None:
    """Weights that an architecture was published with are there, and see pictures as they learnt to."""
    if spec.weights != PRETRAINED or spec.architecture.name not in known:
        return
    lacking = known[spec.architecture.name].pretrained
    if lacking is None:
        having = [name for name, one in known.items() if one.pretrained is not None]
        report.add("/weights", f"{spec.architecture.name!r} has no weights of its own; {' or '.join(having)} has")
    elif lacking:
        report.add("/weights", lacking)
    if any(isinstance(transform, NormalizeSpec) for transform in spec.dataset.train_transforms):
        report.warnings.append(
            "'normalize' takes the place of the normalisation that the pretrained weights learnt with"
        )
