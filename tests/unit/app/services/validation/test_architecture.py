"""Rules for architectures and initial weights."""

from app.services.validation.architecture import check_resizing
from app.services.validation.context import RegisteredModel
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.resizing import STRETCH, ResizePolicy
from core.spec import ANY_JOB
from tests.support.validation import CONVNET, IMAGES, find_errors, resolve_training, validation_context


def test_pretrained_weights_require_an_architecture_that_has_them() -> None:
    reason = "'convnet' has no pretrained weights; use 'efficientnet_lite0'"
    assert find_errors(weights="pretrained") == [("/weights", reason)]


def test_normalize_transform_with_pretrained_weights_gives_a_warning() -> None:
    lite = {"name": "efficientnet_lite0"}
    colors = IMAGES._replace(image_shape=(3, 32, 32))
    assert resolve_training(colors, architecture=lite, weights="pretrained").warnings == ()
    normalize = {"name": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3}
    dataset = {"name": "digits", "train_transforms": [normalize]}
    (warning,) = resolve_training(colors, architecture=lite, weights="pretrained", dataset=dataset).warnings
    assert warning.startswith("'normalize' replaces the normalization")


def test_unknown_architecture_and_wrong_options_have_json_pointers() -> None:
    ((pointer, reason),) = find_errors(architecture={"name": "convnett"})
    assert (pointer, "did you mean 'convnet'" in reason) == ("/architecture/name", True)
    errors = find_errors(architecture={"name": "convnet", "channels": "many"})
    assert errors[0][0] == "/architecture/channels"


RECIPE = ResizePolicy("crop", 256, interpolation="bicubic")


def test_pretrained_weights_with_other_resizing_give_a_warning_that_names_the_recipe() -> None:
    lite = {"architecture": {"name": "efficientnet_lite0"}, "weights": "pretrained", "dataset": {"name": "pets"}}
    colors = IMAGES._replace(image_shape=(3, 224, 224))
    assert resolve_training(colors._replace(resize=None), **lite).warnings == ()
    assert resolve_training(colors._replace(resize=RECIPE), **lite).warnings == ()
    (warning,) = resolve_training(colors._replace(resize=STRETCH), **lite).warnings
    assert warning == (
        "The images of pets were imported with image_size=224, resize=stretch, interpolation=area, but the pretrained "
        "weights of efficientnet_lite0 expect image_size=224, resize=crop, resize_shorter_side=256, "
        "interpolation=bicubic. For the best accuracy, import the dataset with recipe=efficientnet_lite0"
    )
    small = IMAGES._replace(image_shape=(3, 64, 64), resize=RECIPE)
    assert "recipe=efficientnet_lite0" in resolve_training(small, **lite).warnings[0]
    random_weights = lite | {"weights": None}
    assert resolve_training(colors._replace(resize=STRETCH), **random_weights).warnings == ()


def test_weights_of_a_model_with_other_resizing_give_a_warning_that_names_its_options() -> None:
    spec = ANY_JOB.validate_python({"dataset": {"name": "pets"}, "architecture": CONVNET, "init_from": "cats@3"})
    classes = ("a", "b", "c")
    padded = RegisteredModel(
        "cats@3", "classification", classes, 3, (1, 8, 8), [], 100, "pets", 7, 0.2, None, ResizePolicy("pad")
    )
    reports = []
    for resize in (STRETCH, padded.resize):
        context = validation_context(spec, IMAGES._replace(resize=resize), model=padded)
        report = ValidationReport()
        check_resizing(TrainingContext.prepare(context), report)
        reports.append(report.warnings)
    assert reports[1] == []
    assert reports[0][0].endswith(
        "import the dataset with image_size=8, resize=pad, pad_color=#000000, interpolation=area"
    )
