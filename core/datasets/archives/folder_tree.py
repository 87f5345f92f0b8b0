"""A tree of the folders that contain images, with the number of images in each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

Parts = tuple[str, ...]


@dataclass
class FolderNode:
    """A folder with at least one image in it or below it, except for an empty root.

    Attributes:
        children: the subfolders that contain images, keyed by name.
        num_direct: the number of images directly in the folder.
        num_images: the number of images in the folder and below it.
    """

    children: dict[str, "FolderNode"] = field(default_factory=dict)
    num_direct: int = 0
    num_images: int = 0

    @classmethod
    def build(cls, counts: Mapping[Parts, int]) -> Self:
        """Build the tree from the number of images directly in each folder."""
        root = cls()
        for parts, count in counts.items():
            node: FolderNode = root
            node.num_images += count
            for name in parts:
                node = node.children.setdefault(name, FolderNode())
                node.num_images += count
            node.num_direct += count
        return root

    def get_descendant(self, path: Parts) -> "FolderNode":
        """Return the folder at the end of the path."""
        node = self
        for name in path:
            node = node.children[name]
        return node

    def iter_levels(self) -> Iterator[list[tuple[Parts, "FolderNode"]]]:
        """Yield the folders of each level, from the children downwards, with their paths."""
        level: list[tuple[Parts, FolderNode]] = [((), self)]
        while level := [((*path, name), child) for path, node in level for name, child in node.children.items()]:
            yield level
