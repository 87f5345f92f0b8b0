"""From an uploaded archive to the packed form."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from core.datasets.archives import uploads
from core.datasets.archives.layout import Layout, in_order, infer_layout
from core.datasets.archives.limits import Limits
from core.datasets.archives.spool import Spool
from core.datasets.definition import Chunk, DatasetFacts
from core.datasets.image_decoding import Encoded, decode
from core.datasets.image_preview import write_preview
from core.datasets.import_report import ReportBuilder
from core.datasets.ingest.builtin import write
from core.datasets.packed import Packed, PackedMeta
from core.datasets.tables import sample_weights as weights
from core.errors import InvalidArchive
from core.images import ImageSize
from core.spec.base import Spec

Resize = Literal["stretch", "crop"]
IMAGE_SIZE = r"^[1-9][0-9]{0,2}(x[1-9][0-9]{0,2})?$"
_MAX_SIDE = 224
_MAX_UNREADABLE = 0.01
_SIZES_LISTED = 20


class UploadOptions(Spec):
    """How uploaded pictures are packed.

    `image_size` is "64", or height x width: "48x64". Unless given: the size of most pictures, or the median of
    their shorter sides, at most 224.
    """

    image_size: Annotated[str, Field(pattern=IMAGE_SIZE)] | None = None
    resize: Resize = "stretch"


class InvalidDataset(InvalidArchive):
    """The archive is sound, the dataset in it is not; `report` says what was found."""

    def __init__(self, detail: str, *, code: str, hint: str, report: dict[str, Any]) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.report = report


def pack_archive(
    archive: Path, out: Path, limits: Limits, options: Mapping[str, Any]
) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack an archive into the fresh folder `out`; returns its meta and the report.

    The same pictures under the same names give the same content hash, whatever the archive's kind and order.

    Raises:
        InvalidArchive: unsafe, too large or damaged; or its `weights.csv` cannot be read.
        RefusedDataset: fewer than two classes, more classes than pictures, or 1 % of them unreadable.
        pydantic.ValidationError: the options are wrong.
    """
    parsed = UploadOptions.model_validate(dict(options))
    spool_path = out.parent / f"{out.name}.spool"
    try:
        with closing(Spool(spool_path, limits)) as spool:
            spool.extract(uploads.entries(archive, limits))
            return _pack(spool, out, limits, parsed)
    finally:
        spool_path.unlink(missing_ok=True)


def _pack(spool: Spool, out: Path, limits: Limits, options: UploadOptions) -> tuple[PackedMeta, dict[str, Any]]:
    found = [image.parts for image in spool.pictures]
    layout = infer_layout([*found, *spool.unreadable_parts], spool.folders)
    sizes = [picture.size for picture in spool.pictures]
    report = ReportBuilder("classification", layout.classes)
    report.unreadable.extend(spool.unreadable)
    told = _weights(spool, layout)
    more = _more(spool, layout, sizes)
    _check_classes(layout, report, more)
    _check_unreadable(report, len(sizes), more)
    facts = _facts(layout, sizes, options)
    _check_room(facts, len(sizes), limits, report, more)
    chunks = decode(_encoded(spool, layout), facts.image_shape, resize=options.resize, max_pixels=limits.max_pixels)
    if told is not None:
        chunks = _weighted(chunks, told)
    meta = write(out, facts, chunks, report, resize=options.resize, weighted=told is not None)
    _check_unreadable(report, report.num_read, more)
    if told is not None:
        more["weights"] = _told_weights(out, report, more)
    write_preview(out)
    return meta, report.finish(meta, **more)


def _encoded(spool: Spool, layout: Layout) -> Iterator[Encoded]:
    index = {label: i for i, label in enumerate(layout.classes)}
    for at in in_order(layout.places[: len(spool.pictures)], [image.name for image in spool.pictures]):
        picture, place = spool.pictures[at], layout.places[at]
        if place:
            yield Encoded(place.split, picture.name, index[place.label], spool.read(picture))


def _weights(spool: Spool, layout: Layout) -> dict[str, float] | None:
    """The pictures' weights, if the archive tells any: beside the class folders, or beside what wraps them."""
    chosen = next((parts for folder in (layout.root, ()) if (parts := (*folder, weights.FILE)) in spool.tables), None)
    for parts in spool.tables:
        if parts != chosen:
            spool.ignore(parts)
    if chosen is None:
        return None
    names = {image.name for image in spool.pictures} | {"/".join(parts) for parts in spool.unreadable_parts}
    return weights.read(spool.tables[chosen], chosen[:-1], names)


def _weighted(chunks: Iterable[Chunk], told: Mapping[str, float]) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk._replace(weights=weights.of(chunk.names, told))


def _told_weights(out: Path, report: ReportBuilder, more: Mapping[str, Any]) -> dict[str, Any]:
    found = Packed.open(out).split("train").weights
    assert found is not None  # noqa: S101 - they were just written
    if not found.any():
        raise InvalidDataset(
            f"{weights.FILE} gives every training picture a weight of 0.",
            code="dataset_bad_weights",
            hint="Give those that are to be learnt from a weight above 0.",
            report=report.finish(None, **more),
        )
    return weights.to_json(found)


def _more(spool: Spool, layout: Layout, sizes: Sequence[ImageSize]) -> dict[str, Any]:
    misplaced = [p.name for p, place in zip(spool.pictures, layout.places, strict=False) if place is None]
    seen = Counter((size.height, size.width) for size in sizes).most_common()
    return {
        "num_ignored": spool.num_ignored + len(misplaced),
        "ignored": [*spool.ignored, *misplaced][:100],
        "empty_classes": list(layout.empty_classes),
        "num_sizes": len(seen),
        "sizes": [{"height": h, "width": w, "count": count} for (h, w), count in seen[:_SIZES_LISTED]],
    }


def _check_classes(layout: Layout, report: ReportBuilder, more: Mapping[str, Any]) -> None:
    num_classes = len(layout.classes) + len(layout.empty_classes)
    num_train = sum(place is not None and place.split == "train" for place in layout.places)
    if num_classes > num_train:
        raise InvalidDataset(
            f"There are {num_classes} class folders, but only {num_train} training pictures.",
            code="dataset_more_classes_than_samples",
            hint="Every class needs pictures; leave out the empty folders.",
            report=report.finish(None, **more),
        )
    if len(layout.classes) < 2:
        raise InvalidDataset(
            f"There is one class only: {layout.classes[0]!r}.",
            code="dataset_too_few_classes",
            hint="A classification needs two class folders or more: class/picture.jpg.",
            report=report.finish(None, **more),
        )


def _check_unreadable(report: ReportBuilder, num_good: int, more: Mapping[str, Any]) -> None:
    num_bad = len(report.unreadable)
    if num_bad and num_bad >= _MAX_UNREADABLE * (num_bad + num_good):
        first = ", ".join(entry.name for entry in report.unreadable[:5])
        raise InvalidDataset(
            f"{num_bad} of {num_bad + num_good} pictures cannot be read: {first}{', …' if num_bad > 5 else ''}.",
            code="dataset_unreadable_pictures",
            hint="Repair or leave out the pictures that the report names; under 1 % would be skipped.",
            report=report.finish(None, **more),
        )


def _check_room(
    facts: DatasetFacts, num_images: int, limits: Limits, report: ReportBuilder, more: Mapping[str, Any]
) -> None:
    channels, height, width = facts.image_shape
    if num_images * channels * height * width > limits.max_packed_bytes:
        raise InvalidDataset(
            f"{num_images} pictures of {channels} x {height} x {width} take over {limits.max_packed_bytes} bytes.",
            code="dataset_too_large",
            hint="Ask for a smaller image_size, or upload fewer pictures.",
            report=report.finish(None, **more),
        )


def _facts(layout: Layout, sizes: Sequence[ImageSize], options: UploadOptions) -> DatasetFacts:
    height, width = _requested_stop(options.image_size) if options.image_size else _usual(sizes)
    channels = max((size.channels for size in sizes), default=1)
    return DatasetFacts("classification", layout.classes, len(layout.classes), (channels, height, width), {})


def _requested_stop(image_size: str) -> tuple[int, int]:
    height, _, width = image_size.partition("x")
    return int(height), int(width or height)


def _usual(sizes: Sequence[ImageSize]) -> tuple[int, int]:
    """Return the size that at least half of the pictures have, else a square of the median shorter side."""
    (commonest, count), *_ = Counter((size.height, size.width) for size in sizes).most_common(1)
    if 2 * count >= len(sizes):
        scale = min(1.0, _MAX_SIDE / max(commonest))
        return max(1, round(commonest[0] * scale)), max(1, round(commonest[1] * scale))
    side = min(_MAX_SIDE, int(statistics.median_low(min(size.height, size.width) for size in sizes)))
    return side, side
