"""Loads bundles of the store with a model backend. Implements `app.serving.model_cache.BundleLoader`."""

from pathlib import Path

from app.serving.backend import LoadedModel, LoadOptions, ModelBackend
from app.serving.model_monitors import ModelMonitors
from app.serving.types import BundleRef
from core.storage import Storage


class StoredBundleLoader:
    """Downloads and loads bundles. The batches of the models are recorded by their monitors."""

    def __init__(self, storage: Storage, backend: ModelBackend, monitors: ModelMonitors, options: LoadOptions) -> None:
        self._storage = storage
        self._backend = backend
        self._monitors = monitors
        self._options = options

    def fetch(self, ref: BundleRef) -> tuple[Path, int]:
        """Download a bundle. Return its folder and the size of its files in bytes.

        Raises:
            Unavailable: the backend is not ready.
            CorruptFile: a file is missing or damaged.
        """
        self._backend.check_ready()
        folder = self._storage.fetch(ref.key, dict(ref.files))
        return folder, sum((folder / name).stat().st_size for name, _ in ref.files)

    def load(self, ref: BundleRef, folder: Path) -> LoadedModel:
        """Load a downloaded bundle and warm up the model. Raises the errors of `ModelBackend.load_model`."""
        monitor = self._monitors.get(ref)
        model = self._backend.load_model(ref, folder, self._options, monitor.make_listener())
        monitor.admission.set_latencies(model.latencies)
        return model
