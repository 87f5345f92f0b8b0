"""Small networks, stored as bundles in a store and as model versions in a database."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.serving.types import BundleRef
from core.db.clock import utc_now
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelAliasRow, ModelVariantRow, ModelVersionRow
from core.storage import Storage
from models import bundle, registry

CLASSES = ["circle", "cross", "line"]


def build_description(**changes: Any) -> bundle.BundleDescription:
    """Describe a small batch-norm convnet for grey 8 x 8 images of three classes."""
    fields: dict[str, Any] = {
        "architecture": {"name": "convnet", "options": {"channels": [4, 8], "head": [16], "batch_norm": True}},
        "image_shape": (1, 8, 8),
        "num_outputs": 3,
        "task": "classification",
        "classes": CLASSES,
        "mean": [0.3],
        "std": [0.2],
    }
    return bundle.BundleDescription.model_validate(fields | changes)


def build_network(description: bundle.BundleDescription, seed: int = 0) -> nn.Module:
    """Build the described network with seeded weights, in eval mode."""
    torch.manual_seed(seed)
    options = description.architecture.options
    shape, num_outputs = description.image_shape, description.num_outputs
    return registry.build_network(
        description.architecture.name, options, shape, num_outputs, description.cardinalities
    ).eval()


def store_bundle(storage: Storage, key: str, *, seed: int = 0, **changes: Any) -> BundleRef:
    """Publish a bundle under `key`."""
    description = build_description(**changes)
    folder = storage.create_scratch_folder() / "bundle"
    folder.mkdir()
    return publish_bundle(
        storage, key, folder, bundle.save_bundle(folder, build_network(description, seed), description)
    )


def publish_bundle(storage: Storage, key: str, folder: Path, files: Mapping[str, tuple[str, int]]) -> BundleRef:
    """Publish a folder that `bundle.save_bundle` wrote."""
    storage.publish(folder, key)
    return BundleRef(key, tuple((name, sha256) for name, (sha256, _) in sorted(files.items())), key.replace("/", "-"))


def register_model(sessions: SessionFactory, storage: Storage, name: str, version: int, **changes: Any) -> BundleRef:
    """Store a bundle and the row that makes it a version of a model."""
    key = f"jobs/{name}-{version}/bundle"
    ref = store_bundle(storage, key, **changes)
    description = build_description(**{field: value for field, value in changes.items() if field != "seed"})
    insert_version(sessions, name, version, ref, description)
    return ref


def insert_version(
    sessions: SessionFactory, name: str, version: int, ref: BundleRef, description: bundle.BundleDescription
) -> None:
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
                bundle=description.model_dump(mode="json"),
                spec={},
                metrics={},
                dataset={},
                num_parameters=1,
                created_at=utc_now(),
            )
        )


def build_variant_row(name: str, version: int, kind: str = "onnx", **measured: Any) -> ModelVariantRow:
    """Build the row of a variant whose files are not stored."""
    return ModelVariantRow(
        name=name,
        version=version,
        format=kind,
        job_id="job-variant",
        key=f"jobs/{name}-{version}-{kind}/result",
        files={"network.onnx": {"sha256": "0" * 64, "size_bytes": 1}},
        size_bytes=1,
        measured=measured,
        created_at=utc_now(),
    )


def set_alias(sessions: SessionFactory, name: str, alias: str, version: int) -> None:
    """Point `name@alias` to a version."""
    with transaction(sessions) as session:
        session.merge(ModelAliasRow(name=name, alias=alias, version=version))
