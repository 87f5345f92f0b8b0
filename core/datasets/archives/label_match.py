"""Matches the rows of a label file with the images of an archive."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.datasets.archives.folder_tree import Parts
from core.datasets.archives.label_file import LabelFile, LabelRow, make_label_error, read_label_rows
from core.datasets.archives.name_index import NameIndex

MAX_LISTED = 100
MIN_MATCHED_SHARE = 0.5  # of the images, so that an unrelated table is not used


class LabelMatch(NamedTuple):
    """The rows of a label file that belong to images.

    Attributes:
        rows: the row of each image, keyed by the number of the image.
        missing: the names in the file that are not in the archive, at most 100.
        num_repeated: the number of rows that repeat an earlier row of the same image.
    """

    file: LabelFile
    rows: dict[int, LabelRow]
    num_rows: int
    num_missing: int
    missing: list[str]
    num_repeated: int

    @property
    def has_labels(self) -> bool:
        """Whether the file contains classes."""
        return "label" in self.file.columns

    @property
    def has_splits(self) -> bool:
        """Whether the file contains splits."""
        return "split" in self.file.columns

    def to_dict(self, num_images: int) -> dict[str, Any]:
        """Return the description of the file for the import report."""
        return {
            "name": self.file.name,
            "columns": self.file.columns,
            "num_rows": self.num_rows,
            "num_missing": self.num_missing,
            "missing": self.missing,
            "num_unlisted": num_images - len(self.rows),
        }

    def list_warnings(self, num_images: int) -> list[str]:
        """Return the warnings about rows without image, images without row and repeated rows."""
        name, num_unlisted, warnings = self.file.name, num_images - len(self.rows), []
        if self.num_missing:
            warnings.append(
                f"{name}: {self.num_missing} of {self.num_rows} rows name no image of the archive, for example "
                f"{self.missing[0]!r}."
            )
        if num_unlisted:
            outcome = "were not imported" if self.has_labels else "have no row; they have no group, and weight 1"
            warnings.append(f"{name}: {num_unlisted} images are not in the file and {outcome}.")
        if self.num_repeated:
            warnings.append(f"{name}: {self.num_repeated} rows repeat an earlier row.")
        return warnings


def match_label_rows(file: LabelFile, images: Sequence[Parts]) -> LabelMatch:
    """Match the rows of a label file with the images.

    Args:
        file: the label file. Its names are relative to its folder or to the root of the archive.
        images: the path parts of every image.

    Raises:
        InvalidArchive: a row is invalid, a name can mean several images, or two rows of an image contradict each other.
    """
    index = NameIndex(images)
    rows: dict[int, LabelRow] = {}
    missing: list[str] = []
    num_rows = num_missing = num_repeated = 0
    for row in read_label_rows(file):
        num_rows += 1
        match = index.find_images(row.name, file.parts[:-1])
        if not match.images:
            num_missing += 1
            missing.extend([row.name[:200]] if len(missing) < MAX_LISTED else [])
            continue
        if not match.is_clear:
            raise make_label_error(
                file.name,
                f"Line {row.line}: {row.name[:200]!r} can mean several images: {index.format_choices(match)}.",
                line=row.line,
                hint="Write the folder and the extension of each image.",
            )
        first = rows.setdefault(match.images[0], row)
        if first is row:
            continue
        if first[2:] != row[2:]:
            raise make_label_error(
                file.name, f"Line {row.line}: {row.name[:200]!r} has other values in line {first.line}.", line=row.line
            )
        num_repeated += 1
    return LabelMatch(file, rows, num_rows, num_missing, missing, num_repeated)
