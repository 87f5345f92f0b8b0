"""Builds the content of a bundle's `bundle.json` from the job spec and the dataset's metadata."""

from typing import Any

from core.datasets.packed import PackedMeta
from core.spec import AnyJobSpec, JobSpec
from core.spec.losses import BceSpec
from models import bundle, registry
from worker.builders.losses import build_target_scaler
from worker.builders.preprocessing import get_normalization


def build_description(
    spec: AnyJobSpec, meta: PackedMeta, job_id: str, dataset: dict[str, Any]
) -> bundle.BundleDescription:
    """Build the content of bundle.json.

    Args:
        spec: the spec of the training job.
        meta: the metadata of the dataset.
        job_id: the id of the training job.
        dataset: the name, version and content hash of the dataset. They become part of the model's lineage.
    """
    assert isinstance(spec, JobSpec)  # noqa: S101 - only training jobs write a bundle
    mean, std = get_normalization(spec, meta)
    architecture, scale = spec.architecture, build_target_scaler(spec, meta)
    return bundle.BundleDescription(
        architecture=bundle.ArchitectureChoice(
            name=architecture.name, options=registry.resolve_options(architecture.name, architecture.options)
        ),
        image_shape=meta.image_shape,
        num_outputs=meta.num_outputs,
        task=meta.task,
        classes=list(meta.classes),
        gives="probabilities" if isinstance(spec.loss, BceSpec) else "scores",
        mean=list(mean),
        std=list(std),
        **meta.resize_policy.to_dict(),
        table=None if meta.table is None else bundle.TableDescription(**meta.table.model_dump(mode="json")),
        target_mean=[] if scale is None else list(scale.mean),
        target_std=[] if scale is None else list(scale.std),
        lineage={"job_id": job_id, "dataset": dataset, "spec": spec.model_dump(mode="json")},
    )
