"""Values of options that hold what parts options: one rule for all, and the canonical text stays as it is."""

import pytest
from PIL import Image

import outskirts as osk
from outskirts.data.option_text import decoded, encoded, encoded_item, items, parse_options
from outskirts.data.sources.spec import parse_spec

NAMES = ["salt & pepper", "cats, dogs", "100%", "50%25 off", 'a "b"', "plain", "great white", "k=v", "0-1", "what?"]


@pytest.fixture
def root(tmp_path):
    for shade, name in enumerate(NAMES):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("L", (8, 8), shade).save(tmp_path / "set" / name / "0.png")
    return tmp_path / "set"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [encoded_item, lambda name: f'"{name}"'], ids=["encoded", "quoted"])
def test_any_class_can_be_chosen(root, name, write):
    if '"' in name and write is not encoded_item:
        pytest.skip("in quotes, there are no quotes")
    images = osk.open(f"{root}?limit=5&classes={write(name)},plain")
    assert images.classes == list(dict.fromkeys([name, "plain"]))
    again = osk.open(images.spec)
    assert (again.spec, again.classes, again.fingerprint) == (images.spec, images.classes, images.fingerprint)


def test_all_together(root):
    text = ",".join(map(encoded_item, NAMES))
    assert osk.open(f"{root}?classes={text}").classes == NAMES
    assert osk.open(root).select_classes(["cats, dogs", "50%25 off"]).classes == ["cats, dogs", "50%25 off"]


@pytest.mark.parametrize(
    "options",
    [
        "part=60-70%",
        "part=60-70%&limit=5",
        "classes=0-2",
        "classes=100%,plain",
        "classes=great white",
        "classes=great%20white,cats%2C dogs",
        "classes=salt %26 pepper",
    ],
)
def test_canonical_texts_stay_as_they_are(root, options):
    text = f"folder:{root}?{options}"
    assert str(parse_spec(text)) == text == str(parse_spec(str(parse_spec(text))))
    assert osk.open(text).spec == text


@pytest.mark.parametrize("value", ["a&b", "50%", "50%25", '"x"', "a,b", "%", "%zz", "é & ü", "a=b"])
def test_values_come_back(value):
    assert decoded(encoded(value)) == value
    assert items(",".join(map(encoded_item, [value, value]))) == [value, value]
    options = parse_options(f"a={encoded(value)}&b={encoded_item(value)}", "")
    assert {key: decoded(text) for key, text in options.items()} == {"a": value, "b": value}


def test_an_ampersand_without_code_is_told(root, fails):
    fails(f"{root}?classes=salt & pepper", "is not an option of the form KEY=VALUE; in a value, & is written as %26")


def test_a_folder_that_looks_encoded_is_found(root, tmp_path):
    other = tmp_path / "My%20Data & more"
    root.rename(other)
    (tmp_path / "t.csv").write_text("image,label\nplain/0.png,cat\n")
    images = osk.open(f"csv:{tmp_path / 't.csv'}@{other}")
    assert images.spec.endswith("?root=" + str(tmp_path) + "/My%2520Data %26 more")
    assert osk.open(images.spec).spec == images.spec and images.image(0).shape == (1, 8, 8)
    # As it was written before.
    assert len(osk.open(f"csv:{tmp_path / 't.csv'}?root={tmp_path}/My%2520Data%20%26 more")) == 1


@pytest.fixture
def fails():
    def fails(spec, sentence):
        with pytest.raises(osk.OutskirtsError, match=sentence):
            osk.open(spec)

    return fails
