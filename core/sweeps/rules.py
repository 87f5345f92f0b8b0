"""Validates what a sweep's fields mean together: a table of rules, each of which yields errors with JSON pointers."""

from collections.abc import Callable, Iterator

from core.spec.base import FieldError
from core.spec.error_pointers import build_pointer
from core.sweeps.algorithms import AshaScheduler, HyperbandScheduler, MedianScheduler, PbtScheduler
from core.sweeps.json_pointers import UnknownPointer, get_value, is_inside, split_pointer
from core.sweeps.milestones import get_max_epochs
from core.sweeps.sampling import MAX_GRID, list_combinations
from core.sweeps.spec import SweepSpec
from core.sweeps.trial_spec import ParameterCycle, build_base, sort_pointers

OWN_FIELDS = {
    "epochs": "is the same for all trials; set it in base, and use a scheduler to train some trials for fewer epochs",
    "kind": "cannot be a parameter: all trials train",
    "milestones": "cannot be a parameter: the scheduler sets it",
    "model": "cannot be a parameter: all trials are versions of one model",
    "name": "cannot be a parameter: the sweep names its trials",
    "register": "cannot be a parameter: use the field register of the sweep",
    "spec_version": "cannot be a parameter",
    "sweep": "cannot be a parameter: the sweep sets it",
}
"""Fields of the job spec that cannot be parameters, with the reason."""
COPIED_FIELDS = (
    "accumulate_batches",
    "architecture",
    "batch_size",
    "dataset",
    "init_from",
    "resume_from",
    "weights",
)
"""Fields that a copy of a trial with the same weights and steps cannot change."""
DATASET_FIELDS = ("stratify", "test", "train_transforms", "valid")
"""Fields of the dataset that do not select another version of it."""


def find_errors(sweep: SweepSpec) -> list[FieldError]:
    """Return the errors of a sweep as (JSON pointer, message) pairs. A sweep without errors can be scheduled."""
    for rule in RULES:
        errors = list(rule(sweep))
        if errors:
            return errors
    return []


def check_own_fields(sweep: SweepSpec) -> Iterator[FieldError]:
    """Check that no parameter sets a field that the sweep itself sets."""
    for pointer in sweep.space:
        name = split_pointer(pointer)[0]
        if name in OWN_FIELDS:
            yield build_pointer(["space", pointer]), OWN_FIELDS[name]
        elif name == "dataset" and split_pointer(pointer)[1:2] not in [[field] for field in DATASET_FIELDS]:
            accepted = ", ".join(f"/dataset/{field}" for field in DATASET_FIELDS)
            reason = f"cannot be a parameter: all trials use one dataset version; only {accepted} can be changed"
            yield build_pointer(["space", pointer]), reason
    kind = sweep.base.get("kind", "train")
    if kind != "train":
        yield "/base/kind", f"should be 'train', the only kind of job that a sweep can search over, not {kind!r}"


def check_conditions(sweep: SweepSpec) -> Iterator[FieldError]:
    """Check that conditions refer to values that the base or another parameter sets, and not to each other."""
    document, has_errors = build_base(sweep), False
    for pointer, parameter in sweep.space.items():
        for condition in parameter.when or {}:
            is_own = condition == pointer or is_inside(condition, pointer)
            is_set = any(condition == other or is_inside(condition, other) for other in sweep.space)
            if is_own:
                reason = "cannot be a condition of itself"
            elif is_set or _exists(document, condition):
                continue
            else:
                reason = "does not exist: neither base nor a parameter of the sweep sets it"
            has_errors = True
            yield build_pointer(["space", pointer, "when", condition]), reason
    if has_errors:
        return
    try:
        sort_pointers(sweep.space)
    except ParameterCycle as error:
        yield build_pointer(["space", error.pointers[0], "when"]), str(error)


def _exists(document: object, pointer: str) -> bool:
    try:
        get_value(document, pointer)
    except UnknownPointer:
        return False
    return True


def check_first_trials(sweep: SweepSpec) -> Iterator[FieldError]:
    """Check that the values of the first trials are values of their parameters."""
    for index, values in enumerate(sweep.first):
        for pointer, value in values.items():
            reason = "is not a parameter of the sweep"
            if pointer in sweep.space:
                reason = sweep.space[pointer].find_error(value) or ""
            if reason:
                yield build_pointer(["first", index, pointer]), reason


def check_epochs(sweep: SweepSpec) -> Iterator[FieldError]:
    """Check that the scheduler has milestones before the last epoch, and that the budget suffices for one trial."""
    epochs, scheduler = get_max_epochs(sweep), sweep.scheduler
    match scheduler:
        case AshaScheduler() | HyperbandScheduler() | MedianScheduler():
            field, first = "min_epochs", scheduler.min_epochs
        case PbtScheduler():
            field, first = "interval", scheduler.interval
        case _:
            field, first = "", epochs
    if field and first >= epochs:
        yield f"/scheduler/{field}", f"should be less than the epochs of a trial ({epochs}), not {first}"
    budget, cost = sweep.budget.epochs, first * sweep.repeats
    if budget is not None and budget < cost:
        yield "/budget/epochs", f"should be at least {cost}, the epochs until the first milestone, not {budget}"


def check_population(sweep: SweepSpec) -> Iterator[FieldError]:
    """Check what population based training requires: a population within the budget, and parameters that can change."""
    scheduler = sweep.scheduler
    if not isinstance(scheduler, PbtScheduler):
        return
    trials = sweep.budget.trials
    if trials is not None and trials < scheduler.population:
        yield "/budget/trials", f"should be at least the population ({scheduler.population}), not {trials}"
    for pointer in sweep.space:
        name = split_pointer(pointer)[0]
        if name in COPIED_FIELDS:
            reason = f"cannot be a parameter with 'pbt', which continues the weights of other trials: {name} is fixed"
            yield build_pointer(["space", pointer]), reason


def check_grid(sweep: SweepSpec) -> Iterator[FieldError]:
    """Check that a grid is not too large."""
    if sweep.sampler.name != "grid":
        return
    size = sum(1 for _ in list_combinations(sweep, sweep.sampler.points))
    if size >= MAX_GRID:
        yield "/sampler", f"the grid has {MAX_GRID} combinations or more; use fewer values, or another sampler"


Rule = Callable[[SweepSpec], Iterator[FieldError]]
RULES: tuple[Rule, ...] = (
    check_own_fields,
    check_conditions,
    check_first_trials,
    check_epochs,
    check_population,
    check_grid,
)
"""The rules, in order. The errors of the first rule that has some are reported."""
