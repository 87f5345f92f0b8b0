"""From a dataset's own form to the packed one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import datasets
from core.datasets.packed import PackedMeta
from core.datasets.writer import PackedWriter


def pack_builtin(
    name: str, options: Mapping[str, Any], datasets_dir: Path, out: Path
) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack a built-in dataset into the empty folder `out`; returns its meta and the report."""
    builtin = datasets.get(name)
    parsed = builtin.parse(options)
    facts = builtin.facts(parsed, datasets_dir)
    writer = PackedWriter(
        out, task=facts.task, classes=facts.classes, num_outputs=facts.num_outputs, image_shape=facts.image_shape
    )
    try:
        for chunk in builtin.chunks(datasets_dir, parsed):
            writer.append(chunk.split, chunk.images, chunk.targets, chunk.names)
        meta = writer.finish()
    except BaseException:
        writer.abort()
        raise
    return meta, {}
