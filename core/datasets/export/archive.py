"""Exports a packed dataset as a zip archive, in chunks."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from core.datasets.edits.class_plan import LABELLED_TASKS
from core.datasets.export.file_names import name_folders
from core.datasets.export.image_files import check_channels, encode_images
from core.datasets.export.table_files import build_import_options, encode_tables
from core.datasets.export.zip_stream import ZipStream
from core.datasets.packed import PackedDataset

DESCRIPTION_FILE = "dataset.json"
FORMAT_VERSION = 1
_CHUNK_BYTES = 2**20


def export_dataset(packed: PackedDataset, reference: Mapping[str, Any]) -> Iterator[bytes]:
    """Return an iterator of the chunks of a zip archive, of about 1 MiB each. Equal datasets give equal archives.

    The archive contains `dataset.json` and the files of `encode_images` or `encode_tables`.

    Args:
        packed: the dataset. Its files are opened at the first chunk.
        reference: the name and version of the dataset.

    Raises:
        Conflict: the images have other than 1 or 3 channels.
    """
    if packed.meta.table is None:
        check_channels(packed.meta)
    return _join_chunks(_encode_archive(packed, reference))


def _encode_archive(packed: PackedDataset, reference: Mapping[str, Any]) -> Iterator[bytes]:
    stream = ZipStream()
    description = json.dumps(describe_export(packed, reference), indent=2, ensure_ascii=False)
    yield stream.encode_entry(DESCRIPTION_FILE, description.encode())
    table = packed.meta.table
    yield from encode_images(stream, packed) if table is None else encode_tables(stream, packed, table)
    yield stream.encode_directory()


def describe_export(packed: PackedDataset, reference: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `dataset.json`.

    `import_options` are the options with which an import of the files gives the same samples. `folders` maps the folder
    of a class to the name of the class, where they differ.
    """
    meta = packed.meta
    fields = ("content_hash", "task", "classes", "image_shape", "splits", "resize", "weighted")
    described: dict[str, Any] = {"format": "candela-dataset", "format_version": FORMAT_VERSION, **reference}
    described |= meta.model_dump(mode="json", include=set(fields))
    if meta.table is not None:
        described["table"] = meta.table.model_dump(mode="json")
        described["import_options"] = build_import_options(packed, meta.table)
        return described
    _, height, width = meta.image_shape
    described["import_options"] = {"image_size": f"{height}x{width}"}
    if meta.task in LABELLED_TASKS:
        pairs = zip(name_folders(meta.classes), meta.classes, strict=True)
        described["folders"] = {folder: label for folder, label in pairs if folder != label}
    return described


def _join_chunks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        if len(buffer) >= _CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
