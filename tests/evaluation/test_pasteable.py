import getpass
import shlex
import socket

import pytest

from outskirts.evaluation.pasteable import Pasteable

PHOTOS = ["outskirts", "train", "ce", "--data", "folder:/srv/my photos/train?limit=3"]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    monkeypatch.setattr(socket, "gethostname", lambda: "falcon7.lab.example")


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("folder:/home/anna/birds/train?part=0-50%", "folder:train?part=0-50%"),
        ("flies=folder:/home/anna/birds/it's & flies", "flies=folder:it's & flies"),
        ("csv:/home/anna/birds/a.csv?root=/home/anna/birds/x&label=kind", "csv:a.csv?root=x&label=kind"),
        ("csv:/home/anna/birds/a.csv@/home/anna/birds/x", "csv:a.csv?root=x"),
        ("clip:/home/anna/birds/clip?frozen=3", "clip:clip?frozen=3"),
        ("--out=/home/anna/birds/runs", "--out=runs"),
        ("init=/home/anna/birds/-runs", "init=./-runs"),
        ("spurious/land=/home/anna/birds/land", "spurious/land=land"),
        ("/home/anna/birds", "."),
        ("/home/anna/birds/my sets.yaml", "my sets.yaml"),
        ("/home/anna/sets/a.yaml", "../sets/a.yaml"),
        ("resized-crop:0.3:1,flip", "resized-crop:0.3:1,flip"),
        ("mnist5k?classes=0-6", "mnist5k?classes=0-6"),
        ("../../x.yaml", "../../x.yaml"),
        ("", ""),
    ],
)
def test_what_lies_in_the_folder_is_relative_to_it(word, shown):
    assert shlex.split(Pasteable("/home/anna/birds", "outskirts benchmark ../sets/a.yaml").line([word])) == [shown]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("folder:/srv/my photos/Train set?limit=3", "PATH_TO_TRAIN_SET"),
        ("/home/anna", "PATH_TO_FOLDER"),
        ("~/x.yaml", "PATH_TO_X_YAML"),
        ("/home/anna/birds/anna/x", "PATH_TO_X"),
        ("runs/anna/ce", "PATH_TO_CE"),
        ("falcon7", "PATH_TO_HOST"),
        ("/srv/数据", "PATH_TO_FOLDER"),
        ("C:\\Users\\anna\\x", "PATH_TO_X"),
        ("--config=/srv/$(touch x)`y`.yaml", "PATH_TO_TOUCH_X_Y_YAML"),
    ],
)
def test_without_a_path_that_is_only_here_a_shell_stops(in_shell, word, name):
    written = Pasteable("/home/anna/birds")
    script = written.script([written.line(["outskirts", "--", word])])
    assert "anna" not in script and "/srv" not in script
    with pytest.raises(RuntimeError, match=rf"{name}: parameter (null or )?not set"):
        in_shell(script)
    ((_, given),) = in_shell(script, **{name: "/mnt/my sets/it's"})
    assert given.removeprefix("folder:").removesuffix("?limit=3").removeprefix("--config=") == "/mnt/my sets/it's"


def test_paths_have_variables_of_their_own(in_shell):
    written = Pasteable("/home/carl")
    line = written.line(["outskirts", "/srv/a/test", "/srv/b/test", "a=folder:/srv/a/test"])
    script = written.script([line, written.hash_of("/srv/c.yaml", "12ab")], threads=4)
    assert script.splitlines()[0] == (
        "# First set PATH_TO_TEST for …/test, PATH_TO_TEST_2 for …/test, PATH_TO_C_YAML for …/c.yaml, "
        "as in: export PATH_TO_TEST=…"
    )
    assert script.splitlines()[1] == "export OMP_NUM_THREADS=4"
    assert in_shell(script, PATH_TO_TEST="/1", PATH_TO_TEST_2="/2", PATH_TO_C_YAML="/3") == [
        ["/1", "/2", "a=folder:/1"]
    ]


@pytest.mark.parametrize("word", ["~nosuchuser", "~nosuchuser/x", "/" + "x" * 300, "a\nb", "folder:/a\0b", "=", "/"])
def test_odd_words_are_written_too(word):
    assert Pasteable("/home/carl").line([word])
    assert Pasteable().line([word])


def test_what_is_in_the_data_folder_has_its_bare_name(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    assert Pasteable().line([f"far=parquet:{tmp_path}/textures.parquet?limit=9"]) == "'far=textures?limit=9'"


def test_everything_stays_where_that_is_asked_for():
    assert Pasteable(full=True).line(PHOTOS) == shlex.join(PHOTOS)
    assert Pasteable(full=True).text("outskirts 'half") == "outskirts 'half"
    assert Pasteable().text("outskirts '/srv/half") == "outskirts '…/half"
