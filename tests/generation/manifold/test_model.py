import json

import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.files import file_digest, load_tensors, save_tensors
from outskirts.generation.manifold.model import Manifold, ManifoldOptions, fingerprint
from outskirts.seeding import isolated


def built(rows=10, **options):
    with isolated(0, "test"):
        manifold = Manifold(5, ["ant", "bee"], 2, rows, ManifoldOptions(hidden=8, **options))
        for weight in manifold.network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    manifold.mean.copy_(torch.arange(5.0))
    manifold.scale.fill_(3.0)
    manifold.held_out[1] = manifold.fresh[2] = True
    manifold.report, manifold.fingerprint = {"epochs": 3, "history": [[1.0, 0.1]]}, "abc"
    return manifold


@pytest.fixture
def embeddings():
    return torch.randn(10, 5, generator=torch.Generator().manual_seed(0)) * 3


labels = torch.arange(10) % 2


def test_coordinates_are_those_of_standardised_embeddings(embeddings):
    manifold = built()
    u = manifold(embeddings, labels)
    assert torch.equal(u, manifold.network((embeddings - torch.arange(5.0)) / 3, labels)) and not u.requires_grad
    back = manifold.inverse(u, labels)
    torch.testing.assert_close(back, embeddings, rtol=0, atol=1e-4)
    assert not back.requires_grad


def test_blocks_change_nothing(embeddings, monkeypatch):
    manifold = built()
    whole = manifold(embeddings, labels)
    monkeypatch.setattr("outskirts.generation.manifold.model._BLOCK", 3)
    torch.testing.assert_close(manifold(embeddings, labels), whole)
    torch.testing.assert_close(manifold.inverse(whole, labels), embeddings, rtol=0, atol=1e-4)
    assert manifold(embeddings[:0], labels[:0]).shape == (0, 5)


def test_volume_changes_by_the_scale_alone(embeddings):
    manifold = built().double()
    pinned = manifold.network.pinned()
    jacobian = torch.autograd.functional.jacobian(
        lambda row: pinned(manifold.standardized(row[None]), labels[:1])[0], embeddings[0].double()
    )
    assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(-5 * torch.tensor(3.0).double().log().item())


@pytest.mark.parametrize("quirks", [False, True])
def test_everything_comes_back_from_disk(tmp_path, embeddings, quirks):
    manifold = built(reference_quirks=quirks, seed=7)
    manifold.save(tmp_path / "saved")
    state = torch.get_rng_state()
    found = Manifold.load(tmp_path / "saved")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found(embeddings, labels), manifold(embeddings, labels))
    assert torch.equal(found.held_out, manifold.held_out) and torch.equal(found.fresh, manifold.fresh)
    for name in ("options", "classes", "invariants", "report", "fingerprint"):
        assert getattr(found, name) == getattr(manifold, name)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["manifold.json", "manifold.safetensors"]


def test_a_manifold_of_the_first_format_has_no_fresh_embeddings(tmp_path, embeddings):
    manifold = built()
    manifold.fresh.zero_()
    manifold.save(tmp_path)
    tensors, _ = load_tensors(tmp_path / "manifold.safetensors")
    save_tensors(tmp_path / "manifold.safetensors", {key: t for key, t in tensors.items() if key != "fresh"})
    about = json.loads((tmp_path / "manifold.json").read_text())
    about |= {"format": 1, "weights": file_digest(tmp_path / "manifold.safetensors")}
    (tmp_path / "manifold.json").write_text(json.dumps(about))
    found = Manifold.load(tmp_path)
    assert not found.fresh.any() and torch.equal(found(embeddings, labels), manifold(embeddings, labels))


def test_files_have_a_zero_for_no_width(tmp_path):
    Manifold(5, ["ant", "bee"], 2, 10).save(tmp_path)
    assert json.loads((tmp_path / "manifold.json").read_text())["options"]["hidden"] == 0
    assert Manifold.load(tmp_path).options == ManifoldOptions()


def test_damaged_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(OutskirtsError, match=r"manifold.json is missing"):
        Manifold.load(tmp_path)
    built().save(tmp_path)
    about = json.loads((tmp_path / "manifold.json").read_text())
    for changes, sentence in (
        ({"content": "outliers"}, "is not the description of a manifold"),
        ({"format": 99}, "written in format 99 of manifolds; this version of outskirts reads 1 and 2"),
        ({"weights": "0" * 64}, r"manifold.safetensors is not the file that .*manifold.json describes"),
    ):
        (tmp_path / "manifold.json").write_text(json.dumps({**about, **changes}))
        with pytest.raises(OutskirtsError, match=sentence):
            Manifold.load(tmp_path)
    (tmp_path / "manifold.json").write_text("[]")
    with pytest.raises(OutskirtsError, match="is not the description of a manifold"):
        Manifold.load(tmp_path)


def test_the_fingerprint_is_of_embeddings_and_labels(embeddings):
    found = fingerprint(embeddings, labels)
    assert found == fingerprint(embeddings.double(), labels.int())
    assert len({found, fingerprint(embeddings, 1 - labels), fingerprint(embeddings + 1, labels)}) == 3


def test_published_options():
    published = ManifoldOptions.published(seed=3)
    assert (published.lr, published.batch_size, published.epochs, published.blocks) == (1e-4, 64, 200, 4)
    assert published.reference_quirks and published.seed == 3 and published.variance == 0.05
    assert ManifoldOptions.published(epochs=2).epochs == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"patience": 0}, "patience must be at least 1, not 0"),
        ({"holdout": 0.0}, "holdout must be a share between 0 and 1, not 0.0"),
        ({"variance": 1.0}, "variance must be a share between 0 and 1, not 1.0"),
        ({"lr": 0.0}, "lr must be positive and finite, not 0.0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        ManifoldOptions(**options)
