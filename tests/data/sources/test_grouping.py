"""``?group=``: which images are of one patient, by a column or by their paths."""

import shutil

import pytest

import outskirts as osk


def groups(spec):
    found = osk.open(spec).group
    return [found.values[i] for i in found.index.tolist()]


@pytest.fixture
def folder(files):
    return files[0].parents[1]


@pytest.fixture
def table(files, folder):
    lines = ["image,label,patient,site"]
    lines += [
        f"{file.relative_to(folder)},{i // 3},{('p1', 'p2', '300000000')[i % 3]},{'n' * (i % 2)}"
        for i, file in enumerate(files)
    ]
    (folder.parent / "table.csv").write_text("\n".join(lines))
    return f"csv:{folder.parent / 'table.csv'}@{folder}"


def test_a_pattern_finds_groups_in_paths(folder):
    images = osk.open(f"{folder}?group=path:^(cat|dog)/")
    assert images.group.name == "path:^(cat|dog)/" and images.group.values == ("cat", "dog")
    assert images.spec == f"folder:{folder}?group=path:^(cat|dog)/"
    assert groups(images.spec) == ["cat"] * 3 + ["dog"] * 3
    # Without brackets, the group is all that is found.
    assert groups(f"{folder}?group=path:[0-9] a") == [f"{i} a" for i in range(6)]
    assert osk.open(folder).group is None


def test_paths_start_from_the_folder_of_the_set(folder):
    # What is above says nothing about an image, and is another elsewhere.
    assert groups(f"{folder}?group=path:^.") == ["c"] * 3 + ["d"] * 3
    (folder.parent / "list.txt").write_text("cat/0 a.png 0\ndog/3 a.png 1\n")
    assert groups(f"imglist:{folder.parent / 'list.txt'}@{folder}?group=path:^...") == ["cat", "dog"]


def test_groups_are_found_of_chosen_classes_alone(folder, fails):
    fails(f"{folder}?group=path:cat", r"'cat' finds no group in the path 'dog/3 a\.png' of folder:.*set; choose a pat")
    assert groups(f"{folder}?classes=cat&group=path:cat") == ["cat"] * 3


@pytest.mark.parametrize("seed", range(4))
def test_parts_keep_groups(table, seed):
    low, high = (groups(f"{table}?group=patient&part={part}&seed={seed}") for part in ("0-50%", "50-100%"))
    assert sorted(low + high) == sorted(["p1", "p2", "300000000"] * 2) and set(low).isdisjoint(high)


def test_a_column_of_a_table(table, fails):
    assert groups(f"{table}?group=patient") == ["p1", "p2", "300000000"] * 2
    images = osk.open(f"{table}?group=patient&rows=label:1&part=0-50%")
    assert len(images) in (1, 2)
    assert osk.open(images.spec).group.name == "patient"
    assert groups(f"{table}?group=path:cat|dog") == ["cat"] * 3 + ["dog"] * 3
    fails(f"{table}?group=patent", "no column 'patent' in .*; did you mean 'patient'")
    fails(f"{table}?group=site", r"'site' of .*table\.csv is empty in row 1 of the chosen rows; every image needs")


def test_a_column_of_parquet(files, tmp_path, fails):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    columns = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "label": [0, 0, 0, 1, 1, 1],
        "patient": [7_000_000_000, 8, 8] * 2,
        "place": ["sea", None, "land"] * 2,
    }
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(columns), path)
    assert groups(f"{path}?group=patient") == ["7000000000", "8", "8"] * 2
    assert groups(f"{path}?group=path:^[0-9]") == [str(i) for i in range(6)]
    fails(f"{path}?group=patent", r"no column 'patent' in .*; did you mean 'patient'.*Choose with \?group=COLUMN")
    fails(f"{path}?group=place", "'place' of parquet:.* is empty in row 2")


def test_a_column_of_datasets(files, tmp_path):
    datasets = pytest.importorskip("datasets", reason="hf: needs the library datasets")
    columns = {"image": [str(file) for file in files], "label": [0, 0, 0, 1, 1, 1], "patient": [0, 1, 1] * 2}
    stored = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    stored = stored.cast_column("patient", datasets.ClassLabel(names=["anna", "ben"]))
    stored.save_to_disk(str(tmp_path / "stored"))
    assert groups(f"hf:{tmp_path / 'stored'}?group=patient") == ["anna", "ben", "ben"] * 2
    assert groups(f"hf:{tmp_path / 'stored'}?group=path:^[0-9]") == [str(i) for i in range(6)]


def test_what_cannot_be_grouped_says_why(folder, fails):
    fails(f"{folder}?group=patient", r"folder:.*set has no column 'patient'; write group=path:PATTERN")
    fails(f"{folder}?group=path:(", r"'\(' is not a regular expression")
    fails("mnist5k?group=path:x", "The images of mnist5k have no paths that a pattern could find their groups in")
    fails("mnist5k?group=x", "mnist5k has no column 'x'")


def test_files_in_archives_have_paths(folder, tmp_path):
    shutil.make_archive(str(tmp_path / "set"), "zip", folder)
    found = groups(f"zip:{tmp_path / 'set.zip'}?group=path:[0-9] a")
    assert sorted(found) == [f"{i} a" for i in range(6)]


def test_a_pattern_may_have_signs_of_options(folder, files):
    files[0].rename(folder / "cat" / "a&b=c.png")
    spec = f"{folder}?group=path:(a%26b=c|[0-9])"
    assert sorted(set(groups(spec))) == ["1", "2", "3", "4", "5", "a&b=c"]
    assert groups(osk.open(spec).spec) == groups(spec)
