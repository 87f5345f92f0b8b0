"""Finds the variants that serve requests that name no variant: those that the automatic choice made."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from core.db.repos.variants import VariantRepo
from core.db.tables import ModelVariantRow

CPU = "cpu"
AUTO_DEVICES = "auto"
Devices = Callable[[], Sequence[Mapping[str, Any]]]


class DefaultVariants:
    """Finds default variants. There are none unless the setting is `auto` and predictions run on the CPU only.

    Variants run on the CPU, where they were compared with the network. On a GPU, the network is faster.
    """

    def __init__(self, *, is_enabled: bool = False, devices: str = CPU, list_devices: Devices = list) -> None:
        """Initialize the object.

        Args:
            is_enabled: whether the setting `predict_variant` is `auto`.
            devices: the setting `predict_devices`.
            list_devices: returns the devices of the inference processes that have started, with their key `device`.
        """
        self._is_enabled = is_enabled
        self._names = [name.strip() for name in devices.split(",")]
        self._list_devices = list_devices

    @property
    def is_active(self) -> bool:
        """Whether default variants serve requests now. False until the devices are known."""
        if not self._is_enabled:
            return False
        names = self._names
        if names == [AUTO_DEVICES]:  # all GPUs, or the CPU: known when the first process has started
            names = [str(device["device"]) for device in self._list_devices()]
        return bool(names) and all(name == CPU for name in names)

    def find(self, session: Session, name: str, version: int) -> ModelVariantRow | None:
        """Return the variant that serves a version by default; None if its network does."""
        return VariantRepo(session).find_chosen(name, version) if self.is_active else None

    def list_all(self, session: Session, name: str | None = None) -> dict[tuple[str, int], ModelVariantRow]:
        """Return the default variants of a model, default: of all models, as {(name, version): variant}."""
        return VariantRepo(session).list_chosen(name) if self.is_active else {}
