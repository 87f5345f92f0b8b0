"""Label files: which file is one, its columns and its rows."""

from pathlib import Path

import pytest

from core.datasets.archives.annotations import AnnotationFile
from core.datasets.archives.label_file import LabelFile, LabelRow, is_table_file, open_label_file, read_label_rows
from core.errors import InvalidArchive

IMAGES = [("w", "a.png"), ("w", "deep", "b.png")]
TEXT = "name,label\na.png,cat\n"


def write_files(folder: Path, **texts: str) -> list[AnnotationFile]:
    """Write files; two underscores in a keyword are a slash."""
    files = []
    for number, (name, text) in enumerate(texts.items()):
        path = folder / str(number)
        path.write_text(text, newline="")
        files.append(AnnotationFile(tuple(name.replace("_csv", ".csv").replace("_txt", ".txt").split("__")), path))
    return files


def open_text(folder: Path, text: str) -> LabelFile:
    file = open_label_file(write_files(folder, labels_csv=text), IMAGES, None)
    assert file is not None
    return file


def get_error(folder: Path, text: str) -> InvalidArchive:
    with pytest.raises(InvalidArchive) as raised:
        list(read_label_rows(open_text(folder, text)))
    assert raised.value.extra["code"] == "dataset_bad_labels"
    return raised.value


def test_columns_have_synonyms_in_any_case(tmp_path: Path) -> None:
    text = "ID,File Name,Class,Patient-ID,Set,Sample Weight,other\n7,a.png,cat,p1,val,2.5,x\n"
    file = open_text(tmp_path, text)
    assert file.columns == {
        "name": "File Name",
        "label": "Class",
        "split": "Set",
        "group": "Patient-ID",
        "weight": "Sample Weight",
    }
    assert list(read_label_rows(file)) == [LabelRow(2, "a.png", "cat", "valid", "p1", 2.5)]


def test_absent_columns_and_empty_groups_are_none(tmp_path: Path) -> None:
    assert list(read_label_rows(open_text(tmp_path, "image;label;group\na.png;cat;\n"))) == [
        LabelRow(2, "a.png", "cat")
    ]


def test_weights_can_have_decimal_commas(tmp_path: Path) -> None:
    [row] = read_label_rows(open_text(tmp_path, "name;label;weight\na.png;1,5;0,25\n"))
    assert (row.label, row.weight) == ("1,5", 0.25)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,label\na.png,\n", "labels.csv: Line 2: the label of 'a.png' is empty."),
        ("name,label\n,cat\n", "labels.csv: Line 2: the name is empty."),
        (
            "name,label,split\na.png,cat,train\nb.png,cat,later\n",
            "the split 'later' is unknown; use train, valid or test",
        ),
        ("name,label,weight\na.png,cat,-1\n", "Line 2: the weight '-1' is below 0."),
        ("name,label\na.png,cat,dog\n", "Line 2 has 3 values; the header has 2 columns."),
        (f"name,label\na.png,{'x' * 256}\n", "the label has 256 characters; at most 255 are accepted"),
        (f"name,label,group\na.png,x,{'x' * 256}\n", "the group has 256 characters"),
    ],
)
def test_a_faulty_row_is_named(text: str, reason: str, tmp_path: Path) -> None:
    assert reason in get_error(tmp_path, text).detail


def test_labels_csv_is_found_next_to_the_images(tmp_path: Path) -> None:
    files = write_files(tmp_path, other_csv=TEXT, w__labels_csv=TEXT, w__deep__labels_csv=TEXT)
    file = open_label_file(files, IMAGES, None)
    assert file is not None
    assert (file.parts, file.is_certain) == (("w", "labels.csv"), True)
    assert open_label_file(files[2:], IMAGES[:1], None) is not None  # the only CSV file
    assert open_label_file(files[1:2] + files[:1], [("v", "a.png")], None) is None  # two files, neither is certain


def test_the_only_csv_file_needs_names_and_classes(tmp_path: Path) -> None:
    [file] = write_files(tmp_path, meta_csv=TEXT)
    found = open_label_file([file], IMAGES, None)
    assert found is not None
    assert not found.is_certain
    for text in ("name,age\na.png,3\n", "age,label\n3,cat\n", "\0\0"):
        assert open_label_file(write_files(tmp_path, meta_csv=text), IMAGES, None) is None
    annotations = write_files(tmp_path, val__val_annotations_csv=TEXT)
    assert open_label_file(annotations, IMAGES, None) is None


def test_a_list_of_class_names_is_not_a_label_file(tmp_path: Path) -> None:
    assert open_label_file(write_files(tmp_path, labels_csv="code,name\n0,cat\n"), IMAGES, None) is None


def test_a_file_can_be_requested_by_name_or_path(tmp_path: Path) -> None:
    files = write_files(tmp_path, a__train_csv=TEXT, b__train_csv=TEXT, other_csv=TEXT)
    for requested, parts in (("other.csv", ("other.csv",)), ("b/train.csv", ("b", "train.csv"))):
        file = open_label_file(files, IMAGES, requested)
        assert file is not None
        assert file.parts == parts
    with pytest.raises(InvalidArchive, match=r"has several CSV files 'train.csv'; its CSV files are: a/train.csv"):
        open_label_file(files, IMAGES, "train.csv")
    with pytest.raises(InvalidArchive, match=r"\?labels: the archive has no CSV files 'none.csv'"):
        open_label_file(files, IMAGES, "none.csv")
    with pytest.raises(InvalidArchive, match=r"no column contains the names of the images; its columns are x, label"):
        open_label_file(write_files(tmp_path, my_csv="x,label\n1,2\n"), IMAGES, "my.csv")


def test_tables_are_recognized_by_their_suffix() -> None:
    assert is_table_file(("a", "x.CSV"))
    assert is_table_file(("x.tsv",))
    assert not is_table_file(("x.txt",))
