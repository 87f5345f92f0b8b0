"""Names of images in lists: with or without extension and folders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.archives.name_index import NameIndex

IMAGES = [
    ("w", "cat", "1.png"),
    ("w", "dog", "1.png"),
    ("w", "dog", "2.jpg"),
    ("w", "dog", "2.png"),
    (
        "w",
        "x.tar.png",
    ),
]
PARTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
PATHS = st.lists(PARTS, min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("cat/1.png", ("w",), (0,)),
        ("w/cat/1.png", ("w",), (0,)),
        ("./cat/1", ("w",), (0,)),
        ("cat/1.png", (), (0,)),
        ("cat\\1.png", (), (0,)),
        ("/home/me/w/dog/1.png", (), (1,)),
        ("1.png", (), (0, 1)),
        ("1.png", ("w", "cat"), (0,)),
        ("dog/2.jpg", (), (2,)),
        ("dog/2", (), (2, 3)),
        ("2.png", (), (3,)),
        ("x.tar", (), (4,)),
        ("x", (), ()),
        ("bird/1.png", (), ()),
        ("1.jpg", (), ()),
        ("", (), ()),
        ("..", (), ()),
    ],
)
def test_a_name_means_images(name: str, folder: tuple[str, ...], expected: tuple[int, ...]) -> None:
    match = NameIndex(IMAGES).find_images(name, folder)
    assert match.images == expected
    assert match.is_clear == (len(expected) == 1)


def test_names_are_compared_in_normalization_form_c() -> None:
    index = NameIndex([("cafe\u0301.png",)])
    assert index.find_images("caf\u00e9.png").images == (0,)


def test_an_image_at_the_root_is_found_with_any_folder() -> None:
    index = NameIndex([("1.png",), ("a", "1.png")])
    assert index.find_images("/data/images/1.png").images == (0,)
    assert index.find_images("a/1.png").images == (1,)


def test_many_images_with_one_name_are_not_compared() -> None:
    index = NameIndex([(str(number), "x", "1.png") for number in range(500)])
    assert len(index.find_images("x/1.png").images) == 101
    assert index.find_images("499/x/1.png").images == (499,)
    assert index.format_choices(index.find_images("1.png")).endswith("2/x/1.png, …")


@given(PATHS)
def test_a_whole_path_means_its_own_image(paths: list[list[str]]) -> None:
    images = list(dict.fromkeys((*path[:-1], path[-1] + ".png") for path in paths))
    index = NameIndex(images)
    for position, parts in enumerate(images):
        assert index.find_images("/".join(parts)).images == (position,)
        assert index.find_images("/".join(parts).removesuffix(".png")).images == (position,)
