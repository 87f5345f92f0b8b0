"""From a training in words to what its bundle says of itself."""

from typing import Any

from core.datasets.packed import PackedMeta
from core.spec import AnyJobSpec, JobSpec
from core.spec.losses import BceSpec
from models import bundle, registry
from worker.builders.run import build_target_scaler, get_normalization


def build_description(
    spec: AnyJobSpec, meta: PackedMeta, job_id: str, dataset: dict[str, Any]
) -> bundle.BundleDescription:
    """Everything but the weights; `dataset` is {name, version, content_hash}."""
    assert isinstance(spec, JobSpec)  # noqa: S101 - no other kind leaves a bundle
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
        resize=meta.resize,
        table=None if meta.table is None else bundle.TableDescription(**meta.table.model_dump(mode="json")),
        target_mean=[] if scale is None else list(scale.mean),
        target_std=[] if scale is None else list(scale.std),
        lineage={"job_id": job_id, "dataset": dataset, "spec": spec.model_dump(mode="json")},
    )
