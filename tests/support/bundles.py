"""Real tiny networks, stored as real bundles."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.serving.types import BundleRef
from core.db.clock import utc_now
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelAliasRow, ModelVersionRow
from core.storage import Storage
from models import bundle, registry

CLASSES = ["circle", "cross", "line"]


def description(**changes: Any) -> bundle.Description:
    """A small batch-norm convnet for grey 8 x 8 pictures of three classes."""
    fields: dict[str, Any] = {
        "architecture": {"name": "convnet", "options": {"channels": [4, 8], "head": [16], "batch_norm": True}},
        "image_shape": (1, 8, 8),
        "num_outputs": 3,
        "task": "classification",
        "classes": CLASSES,
        "mean": [0.3],
        "std": [0.2],
    }
    return bundle.Description.model_validate(fields | changes)


def network(words: bundle.Description, seed: int = 0) -> nn.Module:
    """The described network with seeded weights, in eval mode."""
    torch.manual_seed(seed)
    options = words.architecture.options
    shape, outputs = words.image_shape, words.num_outputs
    return registry.build(words.architecture.name, options, shape, outputs, words.cardinalities).eval()


def store(storage: Storage, key: str, *, seed: int = 0, **changes: Any) -> BundleRef:
    """Publish a bundle under `key`."""
    words = description(**changes)
    folder = storage.scratch() / "bundle"
    folder.mkdir()
    return publish(storage, key, folder, bundle.save(folder, network(words, seed), words))


def publish(storage: Storage, key: str, folder: Path, files: Mapping[str, tuple[str, int]]) -> BundleRef:
    """Publish a folder that `bundle.save` wrote."""
    storage.publish(folder, key)
    return BundleRef(key, tuple((name, sha256) for name, (sha256, _) in sorted(files.items())), key.replace("/", "-"))


def register(sessions: SessionFactory, storage: Storage, name: str, version: int, **changes: Any) -> BundleRef:
    """Store a bundle and the row that makes it a version of a model."""
    key = f"jobs/{name}-{version}/bundle"
    ref = store(storage, key, **changes)
    words = description(**{field: value for field, value in changes.items() if field != "seed"})
    enter(sessions, name, version, ref, words)
    return ref


def enter(sessions: SessionFactory, name: str, version: int, ref: BundleRef, words: bundle.Description) -> None:
    """Store the row that makes a stored bundle a version of a model."""
    with transaction(sessions) as session:
        session.add(
            ModelVersionRow(
                name=name,
                version=version,
                job_id=f"job-{name}-{version}",
                job_token=1,
                key=ref.key,
                files={file: {"sha256": sha256, "size_bytes": 1} for file, sha256 in ref.files},
                sha256=dict(ref.files)[bundle.WEIGHTS],
                size_bytes=1,
                bundle=words.model_dump(mode="json"),
                spec={},
                metrics={},
                dataset={},
                num_parameters=1,
                created_at=utc_now(),
            )
        )


def set_alias(sessions: SessionFactory, name: str, alias: str, version: int) -> None:
    """Let `name@alias` stand for a version."""
    with transaction(sessions) as session:
        session.merge(ModelAliasRow(name=name, alias=alias, version=version))
