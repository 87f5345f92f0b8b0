"""The rules by which the parts of a job fit together, one function a rule; each adds what it finds to a report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from app.services.validation import distributed
from app.services.validation import optimizer as optimizing
from core.datasets import splits
from core.datasets.definition import DatasetFacts
from core.spec import AnyJobSpec, EvaluateSpec, JobSpec, ModelJobSpec, TrainingSpec
from core.spec.callbacks import (
    UNIQUE_CALLBACKS,
    ConfusionMatrixCallbackSpec,
    CutmixSpec,
    EarlyStoppingSpec,
    EmaSpec,
    FreezeSpec,
    GradientClipSpec,
    KeepBestSpec,
    LookaheadSpec,
    MixupSpec,
    ModelCheckpointSpec,
    SwaSpec,
)
from core.spec.error_pointers import nearest
from core.spec.losses import (
    BceWithLogitsSpec,
    CrossEntropySpec,
    LossSpec,
    MseSpec,
    compatible_losses,
    loss_mismatch_warning,
)
from core.spec.metrics import AccuracySpec, AurocSpec, MaeSpec, MetricSpec, TopKSpec
from core.spec.optimizers import LbfgsSpec
from core.spec.schedules import CyclicSpec, MultiStepSpec, OneCycleSpec, PlateauSpec


class ValidationReport:
    """What is wrong with a job: (JSON pointer, reason) pairs; and what is only odd: texts."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def add(self, pointer: str, reason: str) -> None:
        self.errors.append((pointer, reason))


class TaskDefaults(NamedTuple):
    """What a task is given unless the job says otherwise, and all that suits it."""

    loss: LossSpec
    metrics: tuple[MetricSpec, ...]
    losses: frozenset[str]
    all_metrics: frozenset[str]


_COUNTED = frozenset({"accuracy", "precision", "recall", "f1", "auroc"})
TASK_DEFAULTS = {
    "classification": TaskDefaults(
        CrossEntropySpec(),
        (AccuracySpec(),),
        compatible_losses("class"),
        _COUNTED | {"top_k", "confusion_matrix"},
    ),
    "binary": TaskDefaults(
        BceWithLogitsSpec(),
        (AccuracySpec(),),
        compatible_losses("labels") - {"multilabel_margin"},  # of a single label it is always 0
        _COUNTED | {"confusion_matrix"},
    ),
    "multilabel": TaskDefaults(BceWithLogitsSpec(), (AccuracySpec(),), compatible_losses("labels"), _COUNTED),
    "regression": TaskDefaults(
        MseSpec(), (MaeSpec(),), compatible_losses("numbers"), frozenset({"mae", "mse", "rmse", "r2"})
    ),
}
AVERAGES = (EmaSpec, SwaSpec, LookaheadSpec)
MIXTURES = (MixupSpec, CutmixSpec)
MAX_TABLE_CLASSES = 1000


def check_sizes(spec: JobSpec, facts: DatasetFacts, report: ValidationReport) -> int:
    """Add what is wrong with the sizes; the number of steps an epoch makes (1 where it cannot be told)."""
    try:
        num_train = splits.plan(facts.splits, spec.dataset.valid, spec.dataset.test).num_train
    except ValueError as error:
        report.add("/dataset/valid" if spec.dataset.test is None else "/dataset/test", str(error))
        return 1
    batch_size = spec.batch_size * spec.accumulate_batches
    full, rest = divmod(num_train, batch_size)
    steps = full if spec.drop_last or not rest else full + 1
    if steps == 0:
        report.add(
            "/batch_size",
            f"no batch of {batch_size} can be filled from {num_train} training {_samples(facts)}; "
            "take a smaller one, or set drop_last to false",
        )
    distributed.check_shares(spec, batch_size, rest, report)
    return max(steps, 1)


def check_tables(spec: JobSpec, facts: DatasetFacts, report: ValidationReport) -> None:
    """What a callback counts by class fits the classes."""
    for index, callback in enumerate(spec.callbacks):
        if isinstance(callback, ConfusionMatrixCallbackSpec) and facts.task == "regression":
            report.add(
                f"/callbacks/{index}/name", "'confusion_matrix' needs classes; the dataset's targets are numbers"
            )
        elif isinstance(callback, ConfusionMatrixCallbackSpec) and len(facts.classes) > MAX_TABLE_CLASSES:
            reason = f"there are {len(facts.classes)} classes; a table is made of at most {MAX_TABLE_CLASSES}"
            report.add(f"/callbacks/{index}/name", reason)


def _samples(facts: DatasetFacts) -> str:
    return "pictures" if facts.table is None else "rows" if facts.table.window is None else "windows"


def check_loss(spec: JobSpec, facts: DatasetFacts, report: ValidationReport) -> None:
    loss, suited = spec.loss, TASK_DEFAULTS[facts.task].losses
    if loss is None:
        return
    if loss.name not in suited:
        report.add("/loss/name", f"{loss.name!r} does not fit a task of {facts.task}; use {_either(suited)}")
        return
    warning = loss_mismatch_warning(loss.name, _last_layer(spec.architecture.options))
    if warning is not None:
        report.warnings.append(warning)
    weights = getattr(loss, "class_weights", None)
    _check_length("/loss/class_weights", weights, len(facts.classes), "class", report)
    if isinstance(loss, BceWithLogitsSpec):
        _check_length("/loss/pos_weight", loss.pos_weight, facts.num_outputs, "output", report)


def _last_layer(options: Mapping[str, Any]) -> str | None:
    """The kind of the last of an architecture's `layers`; None where it has no such list."""
    layers = options.get("layers")
    last = layers[-1] if isinstance(layers, Sequence) and layers else None
    return str(last.get("type")) if isinstance(last, Mapping) else None


def _check_length(
    pointer: str, values: Sequence[float] | str | None, expected: int, what: str, report: ValidationReport
) -> None:
    if values is not None and not isinstance(values, str) and len(values) != expected:
        report.add(pointer, f"has {len(values)} values; one a {what} is needed, {expected} here")


def check_metrics(spec: JobSpec | EvaluateSpec, facts: DatasetFacts, report: ValidationReport) -> None:
    suited, seen = TASK_DEFAULTS[facts.task].all_metrics, set[str]()
    for index, metric in enumerate(spec.metrics or ()):
        at = f"/metrics/{index}"
        if metric.name not in suited:
            report.add(f"{at}/name", f"{metric.name!r} does not fit a task of {facts.task}; use {_either(suited)}")
        if isinstance(metric, TopKSpec) and metric.k > len(facts.classes):
            report.add(f"{at}/k", f"is {metric.k}, but the dataset has {len(facts.classes)} classes")
        if isinstance(metric, AurocSpec) and metric.average in ("micro", "none") and facts.task == "binary":
            report.add(f"{at}/average", f"{metric.average!r} is of several classes; two have one curve")
        if metric.key in seen:
            report.add(at, f"{metric.key!r} is asked for twice")
        seen.add(metric.key)


def monitors(spec: JobSpec) -> list[str]:
    """Every curve of the job that a callback or schedule may watch."""
    return [
        f"{split}_{key}"
        for split in ("valid", "train")
        for key in ("loss", *(metric.key for metric in spec.metrics or () if metric.is_curve and metric.is_of(split)))
    ]


def check_monitors(spec: JobSpec, report: ValidationReport) -> None:
    known = monitors(spec)
    watched = [
        (f"/callbacks/{index}/monitor", callback.monitor)
        for index, callback in enumerate(spec.callbacks)
        if isinstance(callback, EarlyStoppingSpec | ModelCheckpointSpec | KeepBestSpec)
    ]
    if isinstance(spec.schedule, PlateauSpec):
        watched.append(("/schedule/monitor", spec.schedule.monitor))
    for pointer, monitor in watched:
        if monitor not in known:
            near = nearest(monitor, known) or known
            report.add(pointer, f"{monitor!r} is no metric of this job; did you mean {_either(near)}?")


def check_split(spec: TrainingSpec | ModelJobSpec, facts: DatasetFacts, report: ValidationReport) -> None:
    """Windows overlap: a share of them held out by chance would have been trained on."""
    if facts.table is None or facts.table.window is None:
        return
    for name in ("valid", "test"):
        if getattr(spec.dataset, name) is not None:
            report.add(
                f"/dataset/{name}",
                "windows of a series are divided in time when they are imported; leave it out, and say "
                f"{name}_share there",
            )


def check_schedule(spec: JobSpec, steps_per_epoch: int, report: ValidationReport) -> None:
    match spec.schedule:
        case OneCycleSpec(cycle_momentum=True) if named := optimizing.optimizers_without_momentum(spec.optimizer):
            report.add("/schedule/cycle_momentum", f"{named} no momentum to cycle; set it to false")
        case OneCycleSpec(pct_start=share) if share * spec.epochs * steps_per_epoch == 1:
            report.add("/schedule/pct_start", "the rise would end at the first step; make it 0, or longer")
        case CyclicSpec(base_lr=lowest, max_lr=highest) if lowest > highest:
            report.add("/schedule/base_lr", f"is above max_lr, {highest}")
        case MultiStepSpec(milestones=milestones) if list(milestones) != sorted(set(milestones)):
            report.add("/schedule/milestones", "must rise")
        case _:
            pass


def check_step(spec: JobSpec, facts: DatasetFacts, report: ValidationReport) -> None:
    """What alters a step is asked for once of each kind, and fits what else is asked for."""
    for index, callback in enumerate(spec.callbacks):
        if isinstance(callback, MIXTURES) and facts.table is not None:
            report.add(f"/callbacks/{index}", f"{callback.name!r} blends pictures; the dataset is a table")
    for kinds, what in ((AVERAGES, "average"), (MIXTURES, "mixture")):
        asked = [index for index, callback in enumerate(spec.callbacks) if isinstance(callback, kinds)]
        for index in asked[1:]:
            report.add(f"/callbacks/{index}", f"there can be one {what} only")
    for kind in UNIQUE_CALLBACKS:
        for index in [index for index, callback in enumerate(spec.callbacks) if isinstance(callback, kind)][1:]:
            report.add(f"/callbacks/{index}", f"there can be one {kind.model_fields['name'].default!r} only")
    names = {callback.name for callback in spec.callbacks}
    if {"swa", "keep_best"} <= names:
        report.add("/callbacks", "'swa' registers a mean that no epoch's curve tells of: there is no best to keep")
    if names & {"mixup", "cutmix"}:
        report.warnings += [
            f"{monitor!r} means little where pictures are mixed: watch losses, or validation"
            for callback in spec.callbacks
            if (monitor := getattr(callback, "monitor", "")).startswith("train_") and monitor != "train_loss"
        ]


def check_sampler(spec: JobSpec, facts: DatasetFacts, report: ValidationReport) -> None:
    """Classes are evened out where there are any, and once."""
    if spec.sampler != "weighted":
        return
    if facts.task not in {"classification", "binary"}:
        report.add("/sampler", f"'weighted' evens out classes; a {facts.task} has none: use 'random'")
    elif getattr(spec.loss, "class_weights", None) is not None:
        report.warnings.append("the sampler 'weighted' and the loss's class_weights both even out the classes")


def check_optimizer(spec: JobSpec, parameter_names: Sequence[str], report: ValidationReport) -> None:
    """`parameter_names` are the network's; none if it could not be built."""
    if isinstance(spec.optimizer, LbfgsSpec):
        if spec.precision == "fp16":
            report.add("/precision", "'lbfgs' cannot have its losses scaled, as 'fp16' needs; use 'fp32'")
        for index, callback in enumerate(spec.callbacks):
            if isinstance(callback, GradientClipSpec):
                report.add(f"/callbacks/{index}", "'lbfgs' compares gradients with losses: they must not be clipped")
    for index, callback in enumerate(spec.callbacks):
        if isinstance(callback, FreezeSpec):
            optimizing.check_pattern(f"/callbacks/{index}/match", callback.match, parameter_names, report)
    optimizing.check_parameters(spec.optimizer, parameter_names, report)


def check_freeze(spec: JobSpec, parameter_names: Sequence[str], report: ValidationReport) -> None:
    """`parameter_names` are the network's; none if it could not be built."""
    for index, pattern in enumerate(spec.freeze):
        optimizing.check_pattern(f"/freeze/{index}", pattern.removeprefix("!"), parameter_names, report)


def check_device(spec: AnyJobSpec, devices: frozenset[str], report: ValidationReport) -> None:
    """`devices` are kinds and numbered devices of living workers: `cpu`, `cuda`, `cuda:0`, `mps`."""
    if spec.device not in {"auto", "cpu"} and spec.device not in devices:
        report.add(
            "/device", f"no worker has {spec.device!r}; there is {', '.join(sorted(devices)) or 'none just now'}"
        )
    if spec.precision == "fp16" and (spec.device == "cpu" or (spec.device == "auto" and not devices - {"cpu"})):
        report.add("/precision", "'fp16' needs a GPU; use 'auto', 'fp32' or 'bf16' on a CPU")


def _either(words: Iterable[str]) -> str:
    return " or ".join(map(repr, sorted(words)))
