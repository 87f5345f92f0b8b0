"""Converts an uploaded archive of images to the packed form."""

import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.datasets.archives import uploads
from core.datasets.archives.layout import ArchiveLayout, sort_placements
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.spool import ImageSpool
from core.datasets.definition import DatasetInfo
from core.datasets.image_decoding import EncodedImage, decode_images
from core.datasets.image_preview import write_image_preview
from core.datasets.import_report import ReportBuilder, count_suffixes
from core.datasets.ingest.archive_labels import ArchiveLabels, read_archive_labels
from core.datasets.ingest.builtin import write_chunks
from core.datasets.ingest.resize_options import ResizeOptions
from core.datasets.packed import PackedDataset, PackedMeta
from core.datasets.split_names import normalize_name
from core.datasets.tables import sample_weights as weights
from core.errors import IMAGE_TOO_LARGE, InvalidArchive
from core.images import ImageSize

LabelsName = Annotated[str, Field(min_length=1, max_length=1024)]
Separator = Annotated[str, Field(min_length=1, max_length=8)]
_MAX_SIDE = 224
_MAX_UNREADABLE = 0.01
_MAX_LISTED_SIZES = 20


class UploadOptions(ResizeOptions):
    """Options of an archive of images."""

    labels: LabelsName | None = Field(
        default=None,
        description="The CSV file of the archive that contains the names and classes of the images. Default: "
        "`labels.csv`, or the only CSV file if it has these columns.",
    )
    group_separator: Separator | None = Field(
        default=None,
        description="The text that ends the group in the name of each image file. With `_`, the group of `p17_3.png` "
        "is `p17`. Random splits do not divide groups. Default: names have no groups.",
    )


class InvalidDataset(InvalidArchive):
    """The archive is valid, but the dataset in it is not. `report` is the import report."""

    def __init__(self, detail: str, *, code: str, hint: str, report: dict[str, Any]) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.report = report


def pack_archive(
    archive: Path, out: Path, limits: UploadLimits, options: Mapping[str, Any]
) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack an archive into the new folder `out`. Return the metadata and the report.

    The content hash of the dataset does not depend on the archive format or on the order of the entries.

    Raises:
        InvalidArchive: the archive is unsafe, too large or damaged, or its `weights.csv` cannot be read.
        InvalidDataset: there are fewer than two classes or more classes than training images, at least 1 % of the
            images are unreadable, the decoded images are too large, or all training weights are 0.
        pydantic.ValidationError: the options are invalid.
    """
    parsed = UploadOptions.model_validate(dict(options))
    spool_path = out.parent / f"{out.name}.spool"
    try:
        with closing(ImageSpool(spool_path, limits)) as spool:
            spool.extract_images(uploads.read_entries(archive, limits))
            return _pack_spool(spool, out, limits, parsed)
    finally:
        spool_path.unlink(missing_ok=True)


def _pack_spool(
    spool: ImageSpool, out: Path, limits: UploadLimits, options: UploadOptions
) -> tuple[PackedMeta, dict[str, Any]]:
    labels = read_archive_labels(spool, options.labels, options.group_separator)
    layout = labels.layout
    for file in (*spool.annotation_files, *spool.list_files):
        if file.parts not in layout.annotations | labels.files:
            spool.ignore_file(file.parts)
    sizes = [image.size for image in spool.spooled_images]
    report = ReportBuilder("classification", layout.classes)
    report.unreadable.extend(spool.unreadable)
    report.warnings.extend(labels.warnings)
    weights_by_name = _read_weights(spool, labels)
    extra = _summarize_spool(spool, layout, sizes) | labels.extra
    _check_classes(layout, report, extra)
    _check_unreadable(report, len(sizes), extra)
    _check_readable_classes(layout, len(sizes), report, extra)
    dataset_info = _build_info(layout, sizes, options)
    _check_packed_size(dataset_info, len(sizes), limits, report, extra)
    chunks = decode_images(
        _read_encoded_images(spool, layout),
        dataset_info.image_shape,
        resize=options.policy,
        max_pixels=limits.max_pixels,
    )
    meta = write_chunks(
        out,
        dataset_info,
        labels.add_to_chunks(chunks, weights_by_name),
        report,
        resize=options.policy,
        weighted=weights_by_name is not None,
        grouped=labels.groups is not None,
    )
    _check_unreadable(report, report.num_read, extra)
    if weights_by_name is not None:
        extra["weights"] = _summarize_weights(out, report, extra)
    write_image_preview(out)
    return meta, report.build_report(meta, **extra)


def _read_encoded_images(spool: ImageSpool, layout: ArchiveLayout) -> Iterator[EncodedImage]:
    index = {label: i for i, label in enumerate(layout.classes)}
    names = [image.name for image in spool.spooled_images]
    placed = [
        (spool.spooled_images[at], place)
        for at in sort_placements(layout.placements[: len(names)], names)
        if (place := layout.placements[at])
    ]
    contents = spool.read_images([image for image, _ in placed])
    for (image, place), content in zip(placed, contents, strict=True):
        yield EncodedImage(place.split, image.name, index[place.label], content)


def _read_weights(spool: ImageSpool, labels: ArchiveLabels) -> dict[str, float] | None:
    """Return the weights from `weights.csv` or from the label file, or None if the archive has no weights.

    `weights.csv` may be next to the class folders or at the top level.
    """
    layout = labels.layout
    selected = next(
        (parts for folder in (layout.root, ()) if (parts := (*folder, weights.WEIGHTS_FILE)) in spool.weights_files),
        None,
    )
    for parts in spool.weights_files:
        if parts != selected:
            spool.ignore_file(parts)
    if selected is None:
        return labels.weights
    if labels.weights is not None:
        raise InvalidArchive(
            f"{'/'.join(selected)} and the label file contain weights; remove one of them.", code="dataset_bad_weights"
        )
    names = {image.name for image in spool.spooled_images} | {"/".join(parts) for parts in spool.unreadable_parts}
    forms = names.union(*({unicodedata.normalize(form, name) for name in names} for form in ("NFC", "NFD")))
    found = weights.read_weights(spool.weights_files[selected], selected[:-1], forms)
    return {normalize_name(name): weight for name, weight in found.items()}


def _summarize_weights(out: Path, report: ReportBuilder, extra: Mapping[str, Any]) -> dict[str, Any]:
    train_weights = PackedDataset.open(out).read_split("train").weights
    assert train_weights is not None  # noqa: S101 - the writer was created with weighted=True
    if not train_weights.any():
        raise InvalidDataset(
            f"All training images have weight 0 in {weights.WEIGHTS_FILE}.",
            code="dataset_bad_weights",
            hint="Give at least one training image a weight above 0.",
            report=report.build_report(None, **extra),
        )
    return weights.summarize_weights(train_weights)


def _summarize_spool(spool: ImageSpool, layout: ArchiveLayout, sizes: Sequence[ImageSize]) -> dict[str, Any]:
    misplaced = [p.name for p, place in zip(spool.spooled_images, layout.placements, strict=False) if place is None]
    common_sizes = Counter((size.height, size.width) for size in sizes).most_common()
    return {
        "num_ignored": spool.num_ignored + len(misplaced),
        "ignored": [*spool.ignored, *misplaced][:100],
        "ignored_by_suffix": count_suffixes(spool.ignored_suffixes, misplaced),
        "empty_classes": list(layout.empty_classes),
        "num_sizes": len(common_sizes),
        "sizes": [{"height": h, "width": w, "count": count} for (h, w), count in common_sizes[:_MAX_LISTED_SIZES]],
    }


def _check_classes(layout: ArchiveLayout, report: ReportBuilder, extra: Mapping[str, Any]) -> None:
    num_classes = len(layout.classes) + len(layout.empty_classes)
    num_train = sum(place is not None and place.split == "train" for place in layout.placements)
    if num_classes > num_train:
        raise InvalidDataset(
            f"There are {num_classes} classes, but only {num_train} training images.",
            code="dataset_more_classes_than_samples",
            hint="Every class needs training images. Add images, or remove empty class folders.",
            report=report.build_report(None, **extra),
        )
    if len(layout.classes) < 2:
        raise InvalidDataset(
            f"There is only one class: {layout.classes[0]!r}.",
            code="dataset_too_few_classes",
            hint="Classification needs at least two class folders: class/image.jpg. Or add a file labels.csv with the "
            "columns name and label.",
            report=report.build_report(None, **extra),
        )


def _check_unreadable(report: ReportBuilder, num_readable: int, extra: Mapping[str, Any]) -> None:
    """Check that less than 1 % of the images are damaged. Images that exceed a limit do not count."""
    damaged = [entry for entry in report.unreadable if not entry.is_too_large]
    num_unreadable = len(damaged)
    if num_unreadable and num_unreadable >= _MAX_UNREADABLE * (num_unreadable + num_readable):
        names = ", ".join(entry.name for entry in damaged[:5]) + ", …" * (num_unreadable > 5)
        raise InvalidDataset(
            f"{num_unreadable} of {num_unreadable + num_readable} images cannot be read: {names}.",
            code="dataset_unreadable_pictures",
            hint="Repair or remove the images that the report lists. Unreadable images are skipped only if fewer "
            "than 1 % of the images are unreadable.",
            report=report.build_report(None, **extra),
        )


def _check_readable_classes(
    layout: ArchiveLayout, num_readable: int, report: ReportBuilder, extra: Mapping[str, Any]
) -> None:
    """Check that each class has training images that do not exceed the limits."""
    readable = {place.label for place in layout.placements[:num_readable] if place and place.split == "train"}
    missing = [label for label in layout.classes if label not in readable]
    too_large = [entry for entry in report.unreadable if entry.is_too_large]
    if missing and too_large:
        raise InvalidDataset(
            f"These classes have no training images within the limits: {', '.join(missing[:10])}. {too_large[0].name}: "
            f"{too_large[0].reason}",
            code=IMAGE_TOO_LARGE,
            hint="Reduce the size of the images that the report lists, or ask the operator to raise the limit.",
            report=report.build_report(None, **extra),
        )


def _check_packed_size(
    dataset_info: DatasetInfo, num_images: int, limits: UploadLimits, report: ReportBuilder, extra: Mapping[str, Any]
) -> None:
    channels, height, width = dataset_info.image_shape
    if num_images * channels * height * width > limits.max_packed_bytes:
        raise InvalidDataset(
            f"{num_images} images of {channels} x {height} x {width} need more than {limits.max_packed_bytes} bytes.",
            code="dataset_too_large",
            hint="Set a smaller image_size, or upload fewer images.",
            report=report.build_report(None, **extra),
        )


def _build_info(layout: ArchiveLayout, sizes: Sequence[ImageSize], options: UploadOptions) -> DatasetInfo:
    height, width = options.size or _choose_image_size(sizes)
    channels = max((size.channels for size in sizes), default=1)
    return DatasetInfo("classification", layout.classes, len(layout.classes), (channels, height, width), {})


def _choose_image_size(sizes: Sequence[ImageSize]) -> tuple[int, int]:
    """Return the size that at least half of the images have, or a square with the median of the shorter sides.

    No side is longer than `_MAX_SIDE`.
    """
    (most_common, count), *_ = Counter((size.height, size.width) for size in sizes).most_common(1)
    if 2 * count >= len(sizes):
        scale = min(1.0, _MAX_SIDE / max(most_common))
        return max(1, round(most_common[0] * scale)), max(1, round(most_common[1] * scale))
    side = min(_MAX_SIDE, int(statistics.median_low(min(size.height, size.width) for size in sizes)))
    return side, side
