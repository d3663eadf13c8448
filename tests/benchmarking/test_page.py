import pytest

import outskirts as osk
from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.page import page, section
from outskirts.commands.train import _recipe
from outskirts.errors import OutskirtsError
from outskirts.files import load_json


@pytest.fixture
def matrix(shifted):
    return Matrix("bugs", "Bugs by day and dusk.", "Few.", "outskirts benchmark bugs", shifted)


def rows(text, title):
    """The cells of the table below a title."""
    lines = text.partition(f"### {title}")[2].partition("###")[0].splitlines()
    return [[job.strip() for job in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]


def test_its_numbers_are_those_of_the_runs(matrix):
    text = section(matrix)
    assert "Bugs by day and dusk." in text and "Few." in text and "outskirts benchmark bugs" in text
    results = [osk.Results.load(job.folder) for job in matrix.jobs]
    found = {(row[0], row[1]): row for row in rows(text, "Each set")}
    for row in results[0].rows:
        if row.dataset != "mean":
            expected = f"{100 * row.auroc:.1f}; {100 * row.fpr95:.1f} \\| {100 * row.fpr95_ood_positive:.1f}"
            assert found[row.group, row.dataset][2:4] == [f"{row.n_ood}", expected]
    groups = rows(text, "Accuracy by group")
    for one, row in zip(load_json(matrix.jobs[1].folder / "groups.json"), groups[1:]):
        assert row[:3] == [one["label"], one["value"], "5"] and row[4] == f"{100 * one['accuracy']:.1f}"
    near = next(row for row in results[1].rows if row.group == "near")
    assert rows(text, "Each detector")[1] == ["msp", f"{100 * results[0].rows[0].auroc:.1f}", f"{100 * near.auroc:.1f}"]


def test_its_commands_repeat_the_runs(matrix, in_shell, bugs):
    script = section(matrix).rpartition("```bash\n")[2].partition("```")[0]
    commands = in_shell(script, PATH_TO_TRAIN=str(bugs / "train"))
    assert [words[0] for words in commands] == ["train", "evaluate"] * 2
    for job, words in zip(matrix.jobs, commands[::2]):
        recipe, start = _recipe(words[1:])
        assert str(start.out) == f"repeated/bugs/{job.folder.name}"
        assert recipe == osk.Run.open(job.folder).recipe()


def test_all_on_one_page(matrix):
    text = page([matrix, matrix], "outskirts benchmark page a b")
    assert text.startswith("# Results") and text.count("## bugs") == 2 and "outskirts benchmark page a b" in text
    with pytest.raises(
        OutskirtsError, match=r"No run of 'bugs' is finished\. Finish one with: outskirts benchmark bugs"
    ):
        page([Matrix("bugs", "", "", "outskirts benchmark bugs", [])], "")


def test_a_folder_alone_or_in_a_list(matrix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = matrix.jobs[0].folder.parent
    matrix.save(folder)
    page_of_one = osk.benchmark_page(str(folder), tmp_path / "one.md").read_text()
    assert page_of_one == osk.benchmark_page([folder], tmp_path / "two.md").read_text().replace("two.md", "one.md")
    with pytest.raises(OutskirtsError, match="none is not the folder of a benchmark's runs"):
        osk.benchmark_page("none")
