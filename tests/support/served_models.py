"""A served model for unit tests, without files."""

from app.services.prediction.version_cache import ServedModel
from app.serving.types import BundleRef
from core.resizing import STRETCH


def build_served_model(task: str = "classification", **changes: object) -> ServedModel:
    """Build a model of images with two classes and the given changes."""
    model = ServedModel(
        name="cats",
        version=3,
        bundle=BundleRef("key", (), "cats"),
        task=task,
        classes=("cat", "dog"),
        image_shape=(3, 32, 64),
        resize=STRETCH,
        num_outputs=2,
    )
    return model._replace(**changes)  # type: ignore[arg-type]  # one changed field, visible in the test
