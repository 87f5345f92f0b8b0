"""The tree of folders that contain images."""

from core.datasets.archives.folder_tree import FolderNode


def test_images_are_counted_in_a_folder_and_below_it() -> None:
    tree = FolderNode.build({("a",): 2, ("a", "b"): 3, (): 1})
    assert (tree.num_images, tree.num_direct, list(tree.children)) == (6, 1, ["a"])
    assert (tree.children["a"].num_images, tree.children["a"].num_direct) == (5, 2)
    assert tree.get_descendant(("a", "b")).num_images == 3


def test_levels_are_returned_from_the_top() -> None:
    tree = FolderNode.build({("a", "b"): 1, ("c",): 1})
    assert [[path for path, _ in level] for level in tree.iter_levels()] == [[("a",), ("c",)], [("a", "b")]]
