import pytest
import torch

from outskirts import Outputs, OutskirtsError


@pytest.fixture
def outputs():
    return Outputs(
        torch.arange(8.0).view(4, 2),
        torch.eye(4)[:, :3],
        torch.tensor([0, 1, 0, 0]),
        (torch.zeros(3, 2), torch.zeros(3)),
        {"probe": torch.arange(4)},
    )


def test_what_they_are(outputs):
    assert (len(outputs), outputs.classes) == (4, 3)
    assert outputs.head.weight.shape == (3, 2)


def test_a_subset_cuts_every_column(outputs):
    for part in (
        outputs[torch.tensor([2, 0])],
        outputs[torch.tensor([True, False, True, False])][torch.tensor([1, 0])],
    ):
        assert part.features.tolist() == [[4, 5], [0, 1]]
        assert part.labels.tolist() == [0, 0]
        assert part.extra["probe"].tolist() == [2, 0]
        assert part.head.weight is outputs.head.weight
    assert outputs[1:].labels.tolist() == [1, 0, 0]
    assert Outputs(torch.zeros(3, 1), torch.zeros(3, 2))[:2].labels is None


@pytest.mark.parametrize("column", [{"logits": 3}, {"labels": 3}, {"extra": 3}])
def test_columns_of_different_images_are_refused(column):
    ((name, rows),) = column.items()
    columns = {"logits": torch.zeros(4, 3), "labels": torch.zeros(4), "extra": {}}
    columns[name] = {"more": torch.zeros(rows)} if name == "extra" else columns[name][:rows]
    with pytest.raises(OutskirtsError, match="4 rows of features but 3 of"):
        Outputs(torch.zeros(4, 2), **columns)


def test_what_is_lacking_names_who_needs_it():
    with pytest.raises(OutskirtsError, match="The detector 'knn' needs labels"):
        Outputs(torch.zeros(4, 2), torch.zeros(4, 3)).need("labels", "knn")


def test_accuracy(outputs):
    assert outputs.accuracy == 0.75


def test_in_a_line_and_in_a_notebook(outputs):
    assert repr(outputs) == "Outputs(features [4, 2], logits [4, 3], labels [4], head linear, extra probe [4])"
    html = Outputs(torch.zeros(2, 3), torch.zeros(2, 4), extra={"<b>": torch.zeros(2)})._repr_html_()
    assert "extra &lt;b&gt;" in html and "[2, 3]" in html


def test_logits_are_optional(outputs):
    alone = Outputs([[0.0, 1.0], [2.0, 3.0]])
    assert repr(alone) == "Outputs(features [2, 2], logits none, labels none, head none)"
    assert alone[1:].logits is None and len(alone[1:]) == 1
    assert Outputs(outputs.features, head=outputs.head).classes == 3
    with pytest.raises(OutskirtsError, match="do not tell how many classes"):
        alone.classes  # noqa: B018
    with pytest.raises(OutskirtsError, match=r"The detector 'msp' needs logits, .*; pass Outputs\(\.\.\., logits="):
        alone.need("logits", "msp")
    with pytest.raises(OutskirtsError, match="The class predicted needs logits"):
        alone.accuracy  # noqa: B018
