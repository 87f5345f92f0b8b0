"""Importing CSV tables: detection of columns, options and errors."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedDataset, PackedMeta
from core.datasets.tables.csv_file import MAX_COLUMNS
from core.errors import InvalidTable

PETS = """name,kind,weight,age,indoor,note
Tom,cat,4.2,3,True,
Rex,dog,30.5,5,False,
Kit,cat,NA,1,true,
Bo,dog,22,7,false,
Su,cat,3.9,2,TRUE,
"""
LIMITS = UploadLimits()


def pack(folder: Path, text: str | bytes, **options: Any) -> tuple[PackedDataset, dict[str, Any]]:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    meta, report = pack_table(path, folder / "out", LIMITS, options)
    packed = PackedDataset.open(folder / "out")
    assert packed.meta == meta
    return packed, report


def get_error(folder: Path, text: str | bytes, **options: Any) -> InvalidTable:
    with pytest.raises(InvalidTable) as raised:
        pack(folder, text, **options)
    return raised.value


def get_columns(meta: PackedMeta) -> dict[str, tuple[str, ...] | None]:
    assert meta.table is not None
    return {column.name: column.categories for column in meta.table.columns}


def test_column_types_are_inferred(tmp_path: Path) -> None:
    pets, report = pack(tmp_path, PETS, target=["kind"], ignore=["name"])
    assert get_columns(pets.meta) == {"weight": None, "age": None, "indoor": ("false", "true")}
    assert (pets.meta.task, pets.meta.classes, pets.meta.splits) == ("classification", ("cat", "dog"), {"train": 4})
    train = pets.read_split("train")
    expected = np.array([[4.2, 3, 2], [30.5, 5, 1], [22, 7, 1], [3.9, 2, 2]])
    np.testing.assert_allclose(train.images, expected, rtol=1e-6)
    assert train.targets.tolist() == [0, 1, 1, 0]
    assert train.names == ["2", "3", "5", "6"]  # the lines of the file
    assert report["num_dropped"] == 1
    roles = {column["name"]: (column["role"], column["num_missing"]) for column in report["columns"]}
    assert roles["name"] == ("ignored", 0)
    assert roles["note"] == ("ignored", 5)
    assert roles["weight"] == ("numeric", 1)
    assert roles["kind"] == ("target", 0)


def test_imputing_keeps_incomplete_rows(tmp_path: Path) -> None:
    pets, report = pack(tmp_path, PETS, target=["kind"], columns=["weight", "indoor"], missing="impute")
    assert np.isnan(pets.read_split("train").images[2, 0])
    np.testing.assert_allclose(pets.meta.mean[0], np.mean([4.2, 30.5, 22, 3.9]), rtol=1e-6)
    assert report["num_dropped"] == 0


def test_a_row_without_a_target_is_dropped(tmp_path: Path) -> None:
    pets, report = pack(tmp_path, PETS, target=["weight"], columns=["age"], missing="impute")
    assert (pets.meta.task, pets.meta.splits, report["num_dropped"]) == ("regression", {"train": 4}, 1)
    assert pets.meta.target_mean == pytest.approx((15.15,))


@pytest.mark.parametrize(
    ("options", "task", "classes"),
    [
        ({"target": ["age"]}, "classification", ("1", "2", "3", "5", "7")),
        ({"target": ["age"], "task": "regression"}, "regression", ("age",)),
        ({"target": ["indoor"], "task": "binary"}, "binary", ("false", "true")),
        ({"target": ["weight", "age"], "columns": ["kind"]}, "regression", ("weight", "age")),
    ],
)
def test_the_task_is_configured_or_inferred(
    options: dict[str, Any], task: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    pets, _ = pack(tmp_path, PETS, missing="impute", **options)
    assert (pets.meta.task, pets.meta.classes) == (task, classes)
    num_outputs = {"classification": 5, "binary": 1, "regression": len(classes)}[task]
    assert pets.meta.num_outputs == num_outputs


def test_numbers_can_be_categories(tmp_path: Path) -> None:
    table, _ = pack(tmp_path, "zip,size,price\n01,3.0,10\n1,2,20\n01,10,15.5\n", categorical=["zip", "size"])
    assert get_columns(table.meta) == {"zip": ("01", "1"), "size": ("2", "3", "10")}
    assert table.meta.table is not None
    assert table.meta.table.targets == ("price",)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (b"\xef\xbb\xbfa,b\n1,x\n2,y\n", {}),
        ("a,b\n1,x\n2,y\n".encode("utf-16"), {}),
        (b"a;b\r\n1;x\r\n\r\n2;y", {}),
        (b"a\tb\n1\tx\n2\ty\n", {}),
        (b'"a","b"\n" 1 ","x"\n"2","y"\n', {}),
        (b"a|b\n1|x\n2|y\n", {"delimiter": "|"}),
    ],
)
def test_encodings_and_delimiters_give_the_same_table(text: bytes, options: dict[str, str], tmp_path: Path) -> None:
    table, _ = pack(tmp_path, text, **options)
    assert table.read_split("train").images.tolist() == [[1], [2]]
    assert table.meta.classes == ("x", "y")
    (tmp_path / "again").mkdir()
    again, _ = pack(tmp_path / "again", "a,b\n1,x\n2,y\n")
    assert table.meta.content_hash == again.meta.content_hash


def test_the_encoding_can_be_configured(tmp_path: Path) -> None:
    table, _ = pack(tmp_path, "a,größe\n1,süß\n2,grün\n".encode("latin-1"), encoding="latin-1")
    assert table.meta.classes == ("grün", "süß")


WIDE = ",".join(f"c{i}" for i in range(MAX_COLUMNS + 1)).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "code", "line", "text_in_error"),
    [
        (b"a,b\n1,2\n1,2,3\n", "table_ragged", 3, "3 values; the header has 2"),
        (b"a,b\n1\n", "table_ragged", 2, "1 values"),
        (b"a,b\n1,x\0y\n", "table_bad_line", 2, "column 2: the value has a NUL"),
        (b"a,b\n1,\xe9\n", "table_bad_encoding", 2, "not UTF-8: byte 3 of the line is 0xe9"),
        (b'a,b\n1,"x\n2,3\n', "table_bad_line", 3, "unexpected end"),
        (b'a,b\n1,"x"y\n', "table_bad_line", 2, "expected after"),
        (b"a,b\n1," + b"x" * 200_000 + b"\n", "table_bad_line", 2, "more than 131072 characters"),
        (b"a,a\n1,2\n", "table_bad_header", 1, "column 2 has the same name 'a' as column 1"),
        (b"a,\n1,2\n", "table_bad_header", 1, "column 2 has no name"),
        (b"a,b\n", "table_empty", None, "a header, but no rows"),
        (b"a,b\n1,\n2,NA\n", "table_bad_target", None, "target column 'b' has no values"),
        (b"\n\n", "table_empty", None, "no column names"),
        (WIDE, "table_too_wide", None, "4097 columns; at most 4096"),
        (b"a,b\n1,2\n,3\n", "table_too_few_rows", None, "1 complete rows; 1 rows with"),
        (
            b"a,b\n" + b"1,2.5\n" * 30 + b"one,3.5\n",
            "table_bad_value",
            32,
            "column 'a': 'one' is not a finite 32-bit number",
        ),
        (b"a,b\n" + b"1,2.5\n" * 30 + b"1e99,3.5\n", "table_bad_value", 32, "'1e99'"),
        (b"a,b\n" + b"1,2.5\n" * 30 + b"inf,3.5\n", "table_bad_value", 32, "'inf'"),
        (b"a,b\n1,x\n2,x\n", "table_bad_target", None, "has 1 distinct values"),
    ],
)
def test_an_error_names_the_line(text: bytes, code: str, line: int | None, text_in_error: str, tmp_path: Path) -> None:
    error = get_error(tmp_path, text)
    assert error.extra["code"] == code
    assert error.extra.get("line") == line
    assert text_in_error in error.detail


def test_an_identifier_column_is_ignored_by_default(tmp_path: Path) -> None:
    names = "name,size,kind\n" + "".join(f"n{i},{i},{'ab'[i % 2]}\n" for i in range(40))
    table, report = pack(tmp_path, names)
    assert get_columns(table.meta) == {"size": None}
    assert report["columns"][0]["reason"] == "has different strings in most rows"
    (tmp_path / "categorical").mkdir()
    table, _ = pack(tmp_path / "categorical", names, categorical=["name"])
    assert len(get_columns(table.meta)["name"] or ()) == 40


@pytest.mark.parametrize(
    ("options", "text_in_error"),
    [
        ({"target": ["kidn"]}, "did you mean 'kind'"),
        ({"numeric": ["age"], "categorical": ["age"]}, "both numeric and categorical"),
        ({"target": ["kind"], "columns": ["kind"]}, "both target and columns"),
        ({"columns": ["note"], "target": ["kind"]}, "'note' cannot be used: it has no values"),
        (
            {"columns": ["age"], "target": ["kind"], "numeric": ["kind"], "task": "regression"},
            "Line 2, column 'kind': 'cat' is not a finite",
        ),
        ({"target": ["name", "kind"]}, "second target"),
        ({"target": ["kind"], "task": "binary", "columns": ["note"], "ignore": ["note"]}, "both columns and ignore"),
        ({"target": ["age"], "task": "binary"}, "needs exactly 2"),
    ],
)
def test_options_that_do_not_match_the_table_are_rejected(
    options: dict[str, Any], text_in_error: str, tmp_path: Path
) -> None:
    assert text_in_error in get_error(tmp_path, PETS, **options).detail


@pytest.mark.parametrize(
    "options",
    [{"horizon": 2}, {"window": 3, "categorical": ["a"]}, {"window": 3, "valid_share": 0.6, "test_share": 0.4}],
)
def test_contradicting_options_are_rejected(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        pack(tmp_path, PETS, **options)


SERIES = "time,demand,heat\n" + "".join(f"2026-01-{i:02d},{100 + i},{i / 2}\n" for i in range(1, 31))


def test_a_series_is_split_by_time(tmp_path: Path) -> None:
    table, report = pack(tmp_path, SERIES, window=4, horizon=2, target=["demand"], test_share=0.2)
    assert table.meta.splits == {"train": 13, "valid": 1, "test": 1}
    assert table.meta.classes == ("demand+1", "demand+2")
    assert get_columns(table.meta) == {"demand": None, "heat": None}
    train, test = table.read_split("train"), table.read_split("test")
    assert train.images[0].tolist() == [[101, 0.5], [102, 1], [103, 1.5], [104, 2]]
    assert train.targets[0].tolist() == [105, 106]
    assert train.names[0] == "6"
    assert test.targets[-1].tolist() == [129, 130]
    assert {column["name"]: column["role"] for column in report["columns"]} == {
        "time": "ignored",
        "demand": "target",
        "heat": "numeric",
    }


def test_a_gap_in_a_series_repeats_the_previous_value(tmp_path: Path) -> None:
    gap = SERIES.replace(",103,", ",,")
    error = get_error(tmp_path, gap, window=4)
    assert (error.extra["code"], error.extra["line"], error.extra["column"]) == ("table_gap", 4, "demand")
    (tmp_path / "out2").mkdir()
    table, _ = pack(tmp_path / "out2", gap, window=4, missing="impute")
    assert table.read_split("train").images[0][:, 0].tolist() == [101, 102, 102, 104]
    assert "must be complete" in get_error(tmp_path, SERIES.replace(",101,", ",,"), window=4, missing="impute").detail


def test_a_short_or_non_numeric_series_is_rejected(tmp_path: Path) -> None:
    assert "A window of 20 rows" in get_error(tmp_path, SERIES, window=20).detail
    assert "is not numeric" in get_error(tmp_path, SERIES, window=2, target=["time"]).detail


def test_a_table_over_the_size_limit_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(PETS)
    with pytest.raises(InvalidTable, match="more than 20 bytes"):
        pack_table(tmp_path / "a", tmp_path / "out", LIMITS._replace(max_packed_bytes=20), {"target": ["kind"]})


TIMES = "time,size,kind\n" + "".join(f"{1_700_000_000_000_000_000 + i},{i % 7},{'ab'[i % 2]}\n" for i in range(60))


def test_large_close_numbers_are_imported_with_a_warning(tmp_path: Path) -> None:
    table, report = pack(tmp_path, TIMES)
    assert get_columns(table.meta) == {"time": None, "size": None}
    [warning] = report["warnings"]
    assert "The column 'time' has 60 different numbers; as 32-bit numbers, all of them are equal" in warning


@pytest.mark.parametrize(
    ("texts", "is_warned"),
    [
        ([str(16_777_216 + i) for i in range(40)], False),  # every second integer is a 32-bit number
        ([str(2**30 + i) for i in range(40)], True),
        ([str(9_007_199_254_740_993 + i) for i in range(40)], True),  # 64-bit numbers are not exact either
        ([str(1e30 * (i + 1)) for i in range(40)], False),
        (["5"] * 40, False),
        (["5.0", "5", "5.00", "05"] * 10, False),  # one number
        ([str(2**40 + i) for i in range(10_500)], True),
    ],
)
def test_columns_that_lose_their_differences_are_named(texts: list[str], is_warned: bool, tmp_path: Path) -> None:
    rows = "".join(f"{text},{i % 7},{'ab'[i % 2]}\n" for i, text in enumerate(texts))
    _, report = pack(tmp_path, "id,size,kind\n" + rows)
    assert [warning for warning in report["warnings"] if "'id'" in warning] == report["warnings"]
    assert bool(report["warnings"]) is is_warned


def test_a_regression_target_that_loses_its_differences_is_named(tmp_path: Path) -> None:
    rows = "".join(f"{i},{10**15 + i}\n" for i in range(30))
    _, report = pack(tmp_path, "size,y\n" + rows)
    assert "The column 'y' has 30 different numbers" in report["warnings"][0]


def test_every_ignored_column_is_named_in_the_warnings(tmp_path: Path) -> None:
    rows = "".join(f"n{i},,m{i},{i},{'ab'[i % 2]},x\n" for i in range(40))
    _, report = pack(tmp_path, "name,empty,mark,size,kind,note\n" + rows, target=["kind"], ignore=["note"])
    assert report["warnings"] == [
        "The column 'note' is ignored: it is excluded by the options.",
        "The columns 'name', 'mark' are ignored. Each of them has different strings in most rows.",
        "The column 'empty' is ignored: it has no values.",
    ]


GERMAN = "name;weight;age;kind\n" + "".join(f"n{i};{i},5;{i};{'ab'[i % 2]}\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (GERMAN, {}),
        (GERMAN, {"decimal": ","}),
        (GERMAN.replace(";", "\t"), {"decimal": ","}),
        (GERMAN.replace(";", "|"), {"decimal": ","}),
        (GERMAN.replace("n1;", '"n;1";'), {}),
        (GERMAN.replace("name;", "sep=;\nname;"), {}),
        (GERMAN.replace("0,5;0;a", "NA;0;a"), {"missing": "impute"}),
    ],
)
def test_decimal_commas_are_numbers(text: str, options: dict[str, Any], tmp_path: Path) -> None:
    table, _ = pack(tmp_path, text, **options)
    assert get_columns(table.meta) == {"weight": None, "age": None}
    assert table.read_split("train").images[1:3].tolist() == [[1.5, 1], [2.5, 2]]


def test_decimal_points_are_numbers_in_a_table_with_semicolons(tmp_path: Path) -> None:
    table, report = pack(tmp_path, GERMAN.replace(",5", ".5"))
    assert table.read_split("train").images[1].tolist() == [1.5, 1]
    assert not any("decimal" in warning for warning in report["warnings"])


def test_commas_are_texts_with_a_decimal_point(tmp_path: Path) -> None:
    table, _ = pack(tmp_path, GERMAN, decimal=".", categorical=["weight"])
    assert (get_columns(table.meta)["weight"] or ())[0] == "0,5"


def test_points_in_a_column_with_decimal_commas_are_an_error(tmp_path: Path) -> None:
    error = get_error(tmp_path, GERMAN.replace("\nn7;7,5", "\nn7;1.007"))
    assert (error.extra["line"], error.extra["column"]) == (9, "weight")
    assert "'1.007' has a decimal point" in error.detail
    (tmp_path / "again").mkdir()
    thousands = "price;kind\n" + "".join(f"1.{i:03};{'ab'[i % 2]}\n" for i in range(40))
    assert "decimal point" in get_error(tmp_path / "again", thousands, decimal=",").detail


def test_points_in_other_columns_than_commas_are_a_warning(tmp_path: Path) -> None:
    text = "price;weight;kind\n" + "".join(f"1.{i:03};{i},5;{'ab'[i % 2]}\n" for i in range(40))
    _, report = pack(tmp_path, text)
    assert report["warnings"] == [
        "Numbers have a decimal comma in other columns, but a decimal point in 'price'. If the points separate "
        "thousands, remove them."
    ]


LABELS = "size,mark,kind\n" + "".join(f"{i},{'yn?'[i % 3]},{['None', 'cat', 'NA'][i % 3]}\n" for i in range(30))


@pytest.mark.parametrize(
    ("missing_values", "classes"),
    [(None, ()), ([""], ("NA", "None", "cat")), ([], ("NA", "None", "cat")), (["NA"], ("None", "cat"))],
)
def test_labels_are_retained_if_they_are_not_missing_values(
    missing_values: list[str] | None, classes: tuple[str, ...], tmp_path: Path
) -> None:
    options = {} if missing_values is None else {"missing_values": missing_values}
    if not classes:
        assert "1 distinct values" in get_error(tmp_path, LABELS, **options).detail
        return
    table, report = pack(tmp_path, LABELS, **options)
    assert table.meta.classes == classes
    assert get_columns(table.meta)["mark"] == ("?", "n", "y")
    assert report["num_dropped"] == (10 if "NA" not in classes else 0)


def test_missing_values_can_be_numbers(tmp_path: Path) -> None:
    text = "size,y\n" + "".join(f"{-999 if i == 3 else i},{i}.5\n" for i in range(30))
    table, _ = pack(tmp_path, text, missing_values=["-999"], missing="impute")
    assert np.isnan(table.read_split("train").images[3, 0])
    assert table.meta.table is not None
    assert np.isnan(table.meta.table.encode_row({"size": -999})).all()
    assert table.meta.table.encode_row({"size": -998}).tolist() == [-998]


def test_row_labels_of_pandas_and_r_are_ignored(tmp_path: Path) -> None:
    text = ",size,kind\n" + "".join(f"{i},{i % 9},{'ab'[i % 2]}\n" for i in range(30))
    table, report = pack(tmp_path, text)
    assert get_columns(table.meta) == {"size": None}
    assert "The column 'Unnamed: 0' is ignored: it has no name" in report["warnings"][0]
    (tmp_path / "requested").mkdir()
    table, _ = pack(tmp_path / "requested", text, columns=["Unnamed: 0", "size"])
    assert list(get_columns(table.meta)) == ["Unnamed: 0", "size"]


CHUNKS = [*"1xé,,;\0\n\r\ufeff", '"', "2.5", "NA", "", '"a,b"', "1e400", "inf", "07", "\r\n"]
OPTIONS: list[dict[str, Any]] = [{}, {"missing": "impute"}, {"window": 2, "missing": "impute"}, {"numeric": ["b"]}]


@settings(max_examples=150, deadline=None)
@given(
    chunks=st.lists(st.sampled_from(CHUNKS), max_size=30),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    options=st.sampled_from(OPTIONS),
)
def test_random_tables_are_rejected_or_give_finite_statistics(
    chunks: list[str], encoding: str, options: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder, suppress(InvalidTable):
        path = Path(folder) / "table.csv"
        path.write_bytes(("a,b\n1,x\n2,y\n" + "".join(chunks)).encode(encoding, "replace"))
        meta, _ = pack_table(path, path.with_name("out"), LIMITS, options)
        assert np.isfinite([*meta.mean, *meta.std, *meta.target_mean, *meta.target_std]).all()


PATIENTS = "patient,part,age,kind\n" + "".join(
    f"p{number // 3},{'Test' if number >= 9 else 'train'},{number},{'ab'[number % 2]}\n" for number in range(12)
)


def test_columns_of_groups_and_splits_are_not_inputs(tmp_path: Path) -> None:
    packed, report = pack(tmp_path, PATIENTS, group="patient", split="part")
    assert packed.meta.table is not None
    assert packed.meta.table.column_names == ["age"]
    assert (packed.meta.splits, packed.meta.grouped) == ({"train": 9, "test": 3}, True)
    train, test = packed.read_split("train"), packed.read_split("test")
    assert train.groups is not None
    assert test.groups is not None
    assert train.groups.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6]
    assert test.groups.tolist() == [9, 9, 9]
    assert (train.names[0], test.names) == ("2", ["11", "12", "13"])
    assert packed.meta.mean == (4.0,)  # of the training rows
    assert report["groups"] == {"num_groups": 4, "largest": 3}
    assert [column["role"] for column in report["columns"]] == ["group", "split", "numeric", "target"]
    assert report["warnings"] == []


def test_rows_without_a_group_are_in_no_group(tmp_path: Path) -> None:
    packed, report = pack(tmp_path, "who,x,y\na,1,u\n,2,v\nNA,3,u\na,4,v\n", group="who")
    train = packed.read_split("train")
    assert train.groups is not None
    assert train.groups.tolist() == [0, 1, 2, 0]
    assert report["groups"] == {"num_groups": 3, "largest": 2}


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("s,x,y\ntrain,1,u\nlater,2,v\n", {"split": "s"}, "Line 3, column 's': the split 'later' is unknown."),
        ("s,x,y\ntest,1,u\ntest,2,v\n", {"split": "s"}, "Column 's': no row is in the split train."),
        ("s,x,y\ntrain,1,u\ntest,2,v\n", {"split": "s"}, "Column 's': these classes have no training rows: 'v'."),
        (
            "s,g,x,y\ntrain,k,1,u\ntrain,m,2,v\ntest,k,3,v\n",
            {"split": "s", "group": "g"},
            "Column 'g': the group 'k' is in the splits train and test.",
        ),
        ("g,x,y\n1,1,u\n2,2,v\n", {"group": "g", "target": ["g"]}, "?group: 'g' cannot be in both group and target"),
        ("g,x,y\n1,1,u\n2,2,v\n", {"group": "h"}, "?group"),
        ("g,x,y\n1,1,5\n2,2,6\n", {"group": "g", "window": 1}, "?group: cannot be combined with window"),
    ],
)
def test_groups_and_splits_that_do_not_fit_are_rejected(
    text: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    assert get_error(tmp_path, text, **options).detail.startswith(reason)


def test_a_series_can_have_no_validation_split(tmp_path: Path) -> None:
    text = "x\n" + "".join(f"{number}\n" for number in range(40))
    packed, _ = pack(tmp_path, text, window=3, valid_share=0.0, target=["x"])
    assert packed.meta.splits == {"train": 37}
    again = TemporaryDirectory()
    with again as folder:
        packed, _ = pack(Path(folder), text, window=3, valid_share=0.0, test_share=0.25, target=["x"])
        assert packed.meta.splits == {"train": 27, "test": 7}
