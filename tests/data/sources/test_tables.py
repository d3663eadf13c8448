"""Tables as people save them: other delimiters and encodings, identifiers of files, a column for each class."""

import pytest
import torch

import outskirts as osk


@pytest.fixture
def root(files):
    return files[0].parents[1]


@pytest.fixture
def table(root, tmp_path):
    def table(text, options="", encoding="utf-8"):
        (tmp_path / "table.csv").write_text(text, encoding=encoding)
        return f"csv:{tmp_path / 'table.csv'}@{root}{options}"

    return table


LINES = ["image,label", "cat/0 a.png,cat", "cat/1 a.png,cat", "cat/2 a.png,cat"]
LINES += ["dog/3 a.png,dog", "dog/4 a.png,dog", "dog/5 a.png,dog"]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_cells_are_parted_by_commas_semicolons_or_tabs(table, pictures, check, delimiter, encoding, end):
    check(osk.open(table(end.join(LINES).replace(",", delimiter), encoding=encoding)), pictures)


def test_a_quoted_header_may_hold_other_delimiters(table):
    text = '"image";"kind, of;animal";"note, with, many, commas"\n"cat/0 a.png";"a;b, c";""\n'
    images = osk.open(table(text, '?label="kind, of;animal"'))
    assert images.classes == ["a;b, c"] and osk.open(images.spec).classes == ["a;b, c"]
    # A comma in cells is none of the header.
    assert osk.open(table("image;label\ncat/0 a.png;a, b\n")).classes == ["a, b"]
    assert osk.open(table("image,label;x\ncat/0 a.png,y\n", "?label=label;x")).classes == ["y"]


def test_columns_that_are_missing_are_told_for_each_delimiter(table, fails):
    for delimiter in ",;\t":
        text = "\n".join(LINES).replace(",", delimiter)
        fails(table(text, "?label=lable"), "no column 'lable' in .*; did you mean 'label'")
        fails(table(text, "?image=path&label=kind"), "no column 'path' in .*: image, label|no column 'path' in ")


# Identifiers


def test_identifiers_without_suffix_are_files(table, pictures, check, root):
    text = "\n".join(LINES).replace(".png", "")
    check(osk.open(table(text)), pictures)
    (root / "cat" / "0 a.txt").touch()
    (root / "cat" / "0 a.png").rename(root / "cat" / "0 a.1.PNG")
    (root / "cat" / "1 a.png").rename(root / "cat" / "1 a")
    check(osk.open(table(text.replace("0 a", "0 a.1"))), pictures)


def test_an_identifier_of_two_files_is_refused(table, root, fails):
    (root / "cat" / "0 a.jpg").write_bytes((root / "cat" / "0 a.png").read_bytes())
    fails(table("image,label\ncat/0 a,cat\n"), r"'0 a' may be 0 a.jpg or 0 a.png in .*cat; write the suffixes")
    assert osk.open(table("image,label\ncat/0 a.png,cat\n")).image(0).shape == (3, 8, 10)


def test_an_identifier_of_no_file_is_named(table, fails):
    fails(table("image,label\ncat/7,cat\n"), "lists cat/7, which is not in")
    images = osk.open(table("image,label\ngone/7,cat\ncat/0 a,cat\n"))
    with pytest.raises(osk.OutskirtsError, match="gone/7 does not exist"):
        images.image(0)


# A column for each class


def test_columns_of_classes(table, files):
    text = "image,MEL,NV,a & b\ncat/0 a,0.0,1.0,0.0\ncat/1 a,1.0,0.0,0.0\ncat/2 a,0,0,1\n"
    images = osk.open(table(text, "?labels=NV,MEL,a %26 b"))
    assert images.classes == ["NV", "MEL", "a & b"] and images.labels.tolist() == [0, 1, 2]
    again = osk.open(images.spec)
    assert again.spec == images.spec and torch.equal(again.labels, images.labels)
    assert osk.open(f"{images.spec}&classes=MEL").labels.tolist() == [0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cat/1 a,0,0", "line 3 has 1 in none of the columns MEL, NV; one of them must hold 1"),
        ("cat/1 a,1,1", "line 3 has 1 in MEL, NV of the columns MEL, NV; one of them must hold 1"),
        ("cat/1 a,0.3,0.7", "line 3: 'MEL' is '0.3'; in columns of classes, values are 0 or 1"),
        ("cat/1 a,,1", "line 3: 'MEL' is ''; in columns of classes, values are 0 or 1"),
        ("cat/1 a,nan,1", "line 3: 'MEL' is 'nan'"),
        ("cat/1 a,1", "line 3: 'NV' is ''"),
    ],
)
def test_lines_that_are_of_no_class_are_named(table, fails, line, said):
    fails(table(f"image,MEL,NV\ncat/0 a,1,0\n{line}\n", "?labels=MEL,NV"), f"table.csv, {said}")


def test_label_and_labels_exclude_each_other(table, fails):
    text = "image,MEL,NV\ncat/0 a,1,0\n"
    fails(table(text, "?labels=MEL,NV&label=none"), "Both label=none and labels=MEL,NV are given; choose one")
    fails(table(text, "?labels=MEL,VN"), "no column 'VN' in .*; did you mean 'NV'")


def test_rows_with_a_comma_in_their_value(table):
    text = 'image,label,place\ncat/0 a,cat,"sea, deep"\ncat/1 a,cat,sea\n'
    images = osk.open(table(text, '?rows=place:"sea, deep"'))
    assert len(images) == 1 and images.spec.endswith("&rows=place:sea%2C deep") and len(osk.open(images.spec)) == 1
