"""Finds the images of an archive by the names that people write into lists: with or without extension and folders."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from core.datasets.archives.folder_tree import Parts
from core.datasets.split_names import normalize_name

_MAX_CANDIDATES = 100  # images with the same file name; more are not compared


class NameMatch(NamedTuple):
    """The images that a name can mean. The name is clear if there is exactly one."""

    images: tuple[int, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the name means exactly one image."""
        return len(self.images) == 1


class NameIndex:
    """An index of images by path, by file name, and by both without extension.

    Args:
        images: the path parts of every image.
    """

    def __init__(self, images: Sequence[Parts]) -> None:
        self._images = [tuple(normalize_name(part) for part in parts) for parts in images]
        self._by_path: dict[Parts, list[int]] = {}
        self._by_name: dict[Parts, list[int]] = {}
        for position, parts in enumerate(self._images):
            for name in {parts[-1], PurePosixPath(parts[-1]).stem}:
                self._by_path.setdefault((*parts[:-1], name), []).append(position)
                for key in {(name,), (*parts[-2:-1], name)}:
                    self._by_name.setdefault(key, []).append(position)

    def find_images(self, text: str, folder: Parts = ()) -> NameMatch:
        """Return the images that a name can mean.

        The name is a path relative to `folder` or to the root of the archive, or the end of a path, or a longer path
        that ends with the path of the image. Backslashes separate folders too. The extension may be left out.

        Args:
            text: the name.
            folder: the folder of the file that contains the name.
        """
        parts = tuple(part for part in normalize_name(text).replace("\\", "/").split("/") if part not in ("", "."))
        if not parts:
            return NameMatch(())
        for path in ((*folder, *parts), parts):
            if found := self._prefer_full_name(_list_first(self._by_path, path), parts[-1]):
                return NameMatch(found)
        candidates = _list_first(self._by_name, parts[-2:])
        if len(parts) > 1:  # images at the root have no folder to compare
            candidates = [*candidates, *_list_first(self._by_path, parts[-1:])]
        if len(candidates) > _MAX_CANDIDATES:
            return NameMatch(tuple(candidates))
        return NameMatch(self._select_longest_overlap(candidates, parts))

    def _select_longest_overlap(self, candidates: Sequence[int], parts: Parts) -> tuple[int, ...]:
        """Return the images whose folders end like those of the name, with the most common folders."""
        overlaps: dict[int, int] = {}
        for position in candidates:
            folders, named = self._images[position][:-1], parts[:-1]
            count = min(len(folders), len(named))
            if folders[len(folders) - count :] == named[len(named) - count :]:
                overlaps[position] = count
        longest = max(overlaps.values(), default=0)
        return self._prefer_full_name([position for position in overlaps if overlaps[position] == longest], parts[-1])

    def _prefer_full_name(self, candidates: Sequence[int], name: str) -> tuple[int, ...]:
        """Return the images with exactly this file name or, if there are none, all candidates."""
        exact = [position for position in candidates if self._images[position][-1] == name]
        return tuple(exact or candidates)

    def format_choices(self, match: NameMatch) -> str:
        """Return the paths of the images that a name can mean, for an error message."""
        paths = ["/".join(self._images[position]) for position in match.images[:3]]
        return ", ".join(paths) + ", …" * (len(match.images) > len(paths))


def _list_first(positions: Mapping[Parts, list[int]], key: Parts) -> list[int]:
    """Return the first positions, so that the time to match a name has a bound."""
    return positions.get(key, [])[: _MAX_CANDIDATES + 1]
