"""The rule for training transforms."""

from tests.support.validation import IMAGES, find_errors


def test_nested_transform_must_fit_the_images() -> None:
    inner = [
        {"name": "rotation"},
        {"name": "random_grayscale"},
        {"name": "random_crop", "padding": 8, "mode": "reflect"},
    ]
    dataset = {"name": "digits", "train_transforms": [{"name": "random_apply", "transforms": inner}]}
    pointer = "/dataset/train_transforms/0/transforms"
    assert dict(find_errors(dataset=dataset)) == {
        f"{pointer}/1": "requires images with 3 channels; the dataset has 1",
        f"{pointer}/2/padding": "must be less than the image size, 8, if mode is 'reflect'; got 8",
    }


def test_images_are_normalized_once_with_a_value_per_channel() -> None:
    normalize = {"name": "normalize", "mean": [0.5, 0.5], "std": [0.5]}
    assert find_errors(dataset={"name": "digits", "train_transforms": [normalize, normalize | {"mean": [0.5]}]}) == [
        ("/dataset/train_transforms/0/mean", "must have one value per channel, 1; got 2"),
        ("/dataset/train_transforms/1", "images are normalized twice; only one transform may normalize them"),
    ]


def test_color_jitter_of_gray_images_changes_brightness_and_contrast_only() -> None:
    dataset = {"name": "digits", "train_transforms": [{"name": "color_jitter", "hue": 0.1}]}
    assert [pointer for pointer, _ in find_errors(dataset=dataset)] == ["/dataset/train_transforms/0"]
    assert IMAGES.image_shape[0] == 1
