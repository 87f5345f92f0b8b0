"""Rules for the network and its initial weights: they must be available and fit the dataset."""

from collections.abc import Mapping

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from app.serving.backend import ArchitectureEntry
from core.spec.job import PRETRAINED


def check_architecture(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the architecture's options give a network that accepts the samples of the dataset."""
    report.extend(context.architecture.errors)


def check_pretrained_weights(context: TrainingContext, report: ValidationReport) -> None:
    """Check that pretrained weights exist and are installed. Warn if a transform replaces their normalization."""
    spec, available = context.spec, context.architecture.available
    if spec.weights != PRETRAINED or spec.architecture.name not in available:
        return
    reason = find_pretrained_error(spec.architecture.name, available)
    if reason is not None:
        report.add("/weights", reason)
    for transform in spec.dataset.train_transforms:
        if transform.replaces_normalization:
            report.warn(f"{transform.name!r} replaces the normalization that the pretrained weights were trained with")


def find_pretrained_error(name: str, available: Mapping[str, ArchitectureEntry]) -> str | None:
    """Return why the pretrained weights of an architecture of the catalog cannot be used; None if they can."""
    missing = available[name].pretrained
    if missing is not None:
        return missing or None
    names = " or ".join(repr(each) for each, entry in available.items() if entry.pretrained is not None)
    return f"{name!r} has no pretrained weights; use {names}"


def check_resizing(context: TrainingContext, report: ValidationReport) -> None:
    """Warn if the initial weights expect images that were resized in another way than those of the dataset."""
    dataset_info, spec, model = context.dataset_info, context.spec, context.job.model
    if dataset_info.resize is None:
        return
    entry = context.architecture.available.get(spec.architecture.name)
    size = dataset_info.image_shape[1], dataset_info.image_shape[2]
    if spec.weights == PRETRAINED and entry is not None and entry.recipe is not None:
        expected, expected_size = entry.recipe.policy, (entry.recipe.image_size,) * 2
        source, option = f"the pretrained weights of {entry.name}", f"recipe={entry.name}"
    elif spec.init_from is not None and model is not None and model.reads_images:
        expected, expected_size = model.resize, (model.image_shape[1], model.image_shape[2])
        source, option = f"the weights of {model.ref}", expected.format_options(expected_size)
    else:
        return
    if (dataset_info.resize, size) != (expected, expected_size):
        report.warn(
            f"The images of {spec.dataset.name} were imported with "
            f"{dataset_info.resize.format_options(size)}, but {source} "
            f"expect {expected.format_options(expected_size)}. For the best accuracy, import the dataset with {option}"
        )
