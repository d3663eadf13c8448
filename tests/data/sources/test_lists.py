"""Lists and tables of images as people save them: nothing in them is dropped in silence."""

import pytest

import outskirts as osk

LISTS = {
    "csv": "image,label\nant/0.png,0\nbee/0.png,{}\n",
    "imglist": "ant/0.png 0\nbee/0.png {}\n",
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("label", ["300000000", "9" * 18, "9" * 5000])
def test_labels_that_are_no_classes_are_told(kind, label, bugs, tmp_path):
    (tmp_path / "list").write_text(LISTS[kind].format(label))
    with pytest.raises(osk.OutskirtsError, match="they must count the classes from 0"):
        osk.open(f"{kind}:{tmp_path / 'list'}@{bugs / 'train'}")


@pytest.mark.parametrize("kind", LISTS)
def test_a_byte_order_mark_is_no_part_of_the_list(kind, bugs, tmp_path):
    (tmp_path / "list").write_text(LISTS[kind].format("001"), encoding="utf-8-sig")
    images = osk.open(f"{kind}:{tmp_path / 'list'}@{bugs / 'train'}")
    assert images.labels.tolist() == [0, 1] and images.image(0).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label,label\nant/0.png,0,1\n", "has the column 'label' twice"),
        ("image,label\nant/0.png,0\nbee/0.png,1,2\n", "has more cells in row 2 than there are columns"),
    ],
)
def test_cells_that_would_be_dropped_are_told(text, said, bugs, tmp_path):
    (tmp_path / "list").write_text(text)
    with pytest.raises(osk.OutskirtsError, match=said):
        osk.open(f"csv:{tmp_path / 'list'}@{bugs / 'train'}")
