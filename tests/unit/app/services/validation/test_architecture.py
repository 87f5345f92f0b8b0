"""Rules for architectures and pretrained weights."""

from tests.support.validation import IMAGES, find_errors, resolve_training


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
