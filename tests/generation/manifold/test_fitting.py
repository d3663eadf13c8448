import copy
import json

import pytest
import torch
from torch.optim import Adam

from outskirts.errors import OutskirtsError
from outskirts.generation.manifold.fitting import (
    fit_manifold,
    linear_factor,
    manifold_losses,
    stratified,
    train_step,
    train_step_published,
)
from outskirts.generation.manifold.model import Manifold, ManifoldOptions
from outskirts.models.volume_preserving import VolumePreserving
from outskirts.seeding import isolated

SMALL = {"hidden": 16, "blocks": 2, "batch_size": 64, "epochs": 3}
NAMES = ["ant", "bee", "fly"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parabolas(count=60, dim=6, seed=0, noise=0.03):
    """Two dimensions that vary much, four that they determine, the same for all classes up to a turn and a shift."""
    labels, g = torch.arange(count * 3) % 3, generator(seed)
    a, b = (torch.rand(2, len(labels), generator=g) * 2 - 1).unbind()
    bent = torch.stack([2 * a, 2 * b, 0.5 * a * a, 0.5 * a * b, 0.3 * torch.sin(3 * a), 0.3 * torch.cos(3 * b)], 1)
    flat = torch.nn.functional.pad(bent, (0, dim - 6)) + noise * torch.randn(
        len(labels), dim, generator=generator(seed)
    )
    turns = torch.linalg.qr(torch.randn(3, dim, dim, generator=generator(9))).Q
    return torch.bmm(flat[:, None], turns[labels])[:, 0] + labels[:, None] * 0.5, labels


def network(quirks=False):
    with isolated(0, "test"):
        return VolumePreserving(6, 3, blocks=2, hidden=16, reference_quirks=quirks)


# The parts


def test_the_factors_of_the_learning_rate():
    factors = [linear_factor(step, 10) for step in range(10)]
    assert factors == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert linear_factor(0, 1) == 1


def test_the_losses_are_those_of_their_formulas():
    x, labels = parabolas()
    net = network(quirks=True)
    u = net(x, labels)
    first, second = manifold_losses(net.pinned(), x, labels, 2)
    torch.testing.assert_close(first, (u[:, 4].square() + u[:, 5].square()).mean() / 2)
    flat = torch.cat([u[:, :4], torch.zeros(len(x), 2)], 1)
    torch.testing.assert_close(second, (net.inverse(flat, labels) - x).square().mean())


def test_one_step_on_both_terms():
    (x, labels), net = parabolas(), network()
    theirs = copy.deepcopy(net)
    train_step(net, Adam(net.parameters(), 0.01), x, labels, 2)
    optimizer = Adam(theirs.parameters(), 0.01)
    sum(manifold_losses(theirs.pinned(), x, labels, 2)).backward()
    optimizer.step()
    torch.testing.assert_close(net.state_dict(), theirs.state_dict())


def test_the_published_two_steps_on_a_stale_target():
    (x, labels), net = parabolas(), network(quirks=True)
    theirs = copy.deepcopy(net)
    train_step_published(net, Adam(net.parameters(), 0.01), x, labels, 2)
    optimizer = Adam(theirs.parameters(), 0.01)
    u = theirs(x, labels)
    u[:, -2:].square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    stale = u.detach().clone()
    stale[:, -2:] = 0
    (theirs.inverse(stale, labels) - x).square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(net.state_dict(), theirs.state_dict())
    assert optimizer.state[theirs.table]["step"] == 2


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_every_class_is_held_out_in_its_share(share):
    labels = torch.tensor([0] * 3 + [1] * 100 + [2] * 37)[torch.randperm(140, generator=generator())]
    held = stratified(labels, 3, share, generator())
    for label, count in enumerate((3, 100, 37)):
        assert held[labels == label].sum() == min(max(1, round(share * count)), count - 2)
    assert torch.equal(held, stratified(labels, 3, share, generator()))
    if share == 0.5:
        assert not torch.equal(held, stratified(labels, 3, share, generator(1)))


# The fit


@pytest.fixture(scope="module")
def good():
    """Fitted until it hardly gets better."""
    # Variance between the dimensions is even enough that four of six are invariants.
    options = ManifoldOptions(hidden=48, batch_size=64, epochs=40, variance=0.2, lr=3e-3)
    return fit_manifold(*parabolas(300), NAMES, options)


def test_it_finds_what_principal_components_cannot(good):
    report = good.report
    assert report["invariants"] == 4
    assert report["held_out_invariant"] < 0.2 * report["held_out_pca"]
    assert report["held_out_recovered"] < 0.2 * report["held_out_pca"]


def test_it_holds_for_embeddings_it_has_never_seen(good):
    x, labels = parabolas(100, seed=5)
    found = good(x, labels)[:, -4:].square().mean().item()
    assert found == pytest.approx(good.report["held_out_invariant"], rel=0.5)
    # Off the manifold, and in the wrong class, it does not.
    assert good(x, (labels + 1) % 3)[:, -4:].square().mean() > 10 * found


def test_the_report_tells_what_was_fitted(good):
    report, (x, labels) = good.report, parabolas(300)
    held = good.held_out
    assert report["fit_rows"] == 729 and report["held_out_rows"] == 90 == held.sum()
    # A tenth of what is not held out.
    assert report["fresh_rows"] == 81 == good.fresh.sum() and report["least_held_out"] == 27
    assert not (held & good.fresh).any() and torch.bincount(labels[good.fresh]).tolist() == [27, 27, 27]
    assert held.sum() == 90 and torch.bincount(labels[held]).tolist() == [30, 30, 30]
    for name, rows in (("fit", good.fitted_to), ("held_out", held)):
        terms = manifold_losses(good.network.pinned(), good.standardized(x[rows]), labels[rows], 4)
        assert [report[f"{name}_invariant"], report[f"{name}_recovered"]] == pytest.approx([t.item() for t in terms])
    assert report["round_trip"] < 1e-5
    judged = [row[1] for row in report["history"]]
    assert report["epochs"] == len(judged) and judged[report["best_epoch"] - 1] == min(judged)
    assert min(judged) == pytest.approx(report["held_out_invariant"] + report["held_out_recovered"])
    json.dumps(report)


def test_embeddings_are_standardised_by_those_it_is_fitted_to(good):
    x, _ = parabolas(300)
    fit = x[good.fitted_to]
    torch.testing.assert_close(good.mean, fit.mean(0))
    torch.testing.assert_close(good.scale, (fit - fit.mean(0)).square().mean().sqrt())
    assert good.standardized(fit).square().mean().item() == pytest.approx(1)


def test_scale_and_place_of_the_embeddings_do_not_matter():
    x, labels = parabolas()
    one = fit_manifold(x, labels, NAMES, ManifoldOptions(**SMALL))
    other = fit_manifold(x * 100 + 7, labels, NAMES, ManifoldOptions(**SMALL))
    assert other.report["held_out_invariant"] == pytest.approx(one.report["held_out_invariant"], rel=1e-2)


def test_it_stops_early_and_keeps_the_best():
    x, labels = parabolas(20)
    patient = ManifoldOptions(**{**SMALL, "epochs": 60, "lr": 0.05}, patience=4)
    found = fit_manifold(x, labels, NAMES, patient)
    report = found.report
    assert report["epochs"] == report["best_epoch"] + 4 < 60
    # Not those of the last epoch: these are what as many epochs as the best leave.
    short = fit_manifold(x, labels, NAMES, ManifoldOptions(**{**SMALL, "epochs": report["best_epoch"], "lr": 0.05}))
    torch.testing.assert_close(found.network.state_dict(), short.network.state_dict(), rtol=0, atol=0)


def test_the_same_seed_fits_the_same():
    data, state = parabolas(), torch.get_rng_state()
    one, two, other = (fit_manifold(*data, NAMES, ManifoldOptions(**SMALL, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key
    assert one.report == two.report
    assert not torch.equal(one.held_out, other.held_out)
    assert not torch.equal(one.network.table, other.network.table)


def test_every_epoch_sees_every_embedding_in_an_order_of_its_own(monkeypatch):
    seen = []

    def step(network, optimizer, x, labels, m):
        seen.append(x)
        return train_step(network, optimizer, x, labels, m)

    monkeypatch.setattr("outskirts.generation.manifold.fitting.train_step", step)
    fit_manifold(*parabolas(), NAMES, ManifoldOptions(**{**SMALL, "epochs": 2}))
    one, two = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert len(seen) == 6 and len(one) == 147 and not torch.equal(one, two)
    assert torch.equal(one[one[:, 0].argsort()], two[two[:, 0].argsort()])


def test_float64_embeddings_are_fitted_as_float32():
    x, labels = parabolas()
    one, two = (fit_manifold(x.to(dtype), labels, NAMES, ManifoldOptions(**SMALL)) for dtype in (x.dtype, torch.double))
    assert one.report == two.report


def test_the_published_form():
    x, labels = parabolas()
    rates, seen = [], Adam.step

    def step(optimizer, *args, **kwargs):
        rates.append(optimizer.param_groups[0]["lr"])
        return seen(optimizer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adam, "step", step)
        options = ManifoldOptions.published(hidden=16, blocks=2, epochs=4, patience=1)
        found = fit_manifold(x, labels, NAMES, options)
    # Of 147 rows, three batches of 64 an epoch, two steps of each.
    assert len(rates) == 4 * 3 * 2
    assert rates[::2] == rates[1::2] == pytest.approx([1e-4 * linear_factor(step, 12) for step in range(12)])
    assert not found.mean.any() and found.scale == 1
    plain = fit_manifold(x, labels, NAMES, ManifoldOptions(**SMALL))
    assert found.invariants == plain.invariants + 1
    # Judged by the invariants of what it is fitted to, and never early.
    assert found.report["epochs"] == 4
    best = min(row[1] for row in found.report["history"])
    assert best == pytest.approx(found.report["fit_invariant"])


# Going on


def interrupted(epoch):
    class Stop(Exception):
        pass

    def progress(done, losses):
        if done == epoch:
            raise Stop

    return Stop, progress


@pytest.mark.parametrize("form", [{}, {"reference_quirks": True}, {"rotation": "fixed"}])
def test_a_stopped_fit_goes_on_as_if_nothing_had_happened(tmp_path, form):
    data, options = parabolas(), ManifoldOptions(**{**SMALL, "epochs": 4}, **form)
    whole = fit_manifold(*data, NAMES, options)
    for epoch in (1, 3):
        stop, progress = interrupted(epoch)
        with pytest.raises(stop):
            fit_manifold(*data, NAMES, options, tmp_path / "fit", progress)
    assert (tmp_path / "fit" / "state.safetensors").is_file() and not (tmp_path / "fit" / "manifold.json").exists()
    epochs = []
    found = fit_manifold(*data, NAMES, options, tmp_path / "fit", lambda epoch, _: epochs.append(epoch))
    assert epochs == [4] and found.report == whole.report
    for key, value in whole.state_dict().items():
        assert torch.equal(value, found.state_dict()[key]), key
    names = {path.name for path in (tmp_path / "fit").iterdir()}
    assert names == {"training.json", "manifold.json", "manifold.safetensors"}
    # Once finished, it is loaded.
    again = fit_manifold(*data, NAMES, options, tmp_path / "fit", lambda *_: pytest.fail("It trains."))
    assert torch.equal(again(*data), found(*data)) and torch.equal(Manifold.load(tmp_path / "fit")(*data), found(*data))


@pytest.mark.parametrize("stopped", [True, False])
def test_a_fit_that_an_earlier_version_began_keeps_its_two_parts(tmp_path, stopped):
    data, options = parabolas(), ManifoldOptions(**{**SMALL, "epochs": 3})
    stop, progress = interrupted(1)
    with pytest.raises(stop):
        fit_manifold(*data, NAMES, options, tmp_path, progress)
    begun = json.loads((tmp_path / "training.json").read_text())
    assert begun.pop("parts") == 3
    (tmp_path / "training.json").write_text(json.dumps(begun))
    (tmp_path / "state.safetensors").unlink()
    if stopped:
        with pytest.raises(stop):
            fit_manifold(*data, NAMES, options, tmp_path, progress)
    found = fit_manifold(*data, NAMES, options, tmp_path)
    assert not found.fresh.any() and (found.report["fit_rows"], found.report["fresh_rows"]) == (162, 0)


def test_the_best_weights_outlive_a_stop(tmp_path):
    data, options = parabolas(20), ManifoldOptions(**{**SMALL, "epochs": 60, "lr": 0.05}, patience=4)
    whole = fit_manifold(*data, NAMES, options)
    stop, progress = interrupted(whole.report["best_epoch"] + 2)
    with pytest.raises(stop):
        fit_manifold(*data, NAMES, options, tmp_path / "fit", progress)
    found = fit_manifold(*data, NAMES, options, tmp_path / "fit")
    assert found.report == whole.report
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in whole.state_dict().items())


def test_a_folder_holds_one_fit(tmp_path):
    (x, labels), options = parabolas(), ManifoldOptions(**{**SMALL, "epochs": 1})
    fit_manifold(x, labels, NAMES, options, tmp_path / "fit")
    for arguments, sentence in (
        ((x + 1, labels, NAMES, options), "begun with the embeddings"),
        ((x, labels, [*"abc"], options), "begun with the classes"),
        ((x, labels, NAMES, ManifoldOptions(**SMALL)), "begun with the epochs 1, not 3"),
    ):
        with pytest.raises(OutskirtsError, match=sentence):
            fit_manifold(*arguments, tmp_path / "fit")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(OutskirtsError, match="else exists and is not an empty folder"):
        fit_manifold(x, labels, NAMES, options, tmp_path / "else")


def test_a_damaged_state_is_a_clear_error(tmp_path):
    data, options = parabolas(), ManifoldOptions(**SMALL)
    stop, progress = interrupted(1)
    with pytest.raises(stop):
        fit_manifold(*data, NAMES, options, tmp_path / "fit", progress)
    (tmp_path / "fit" / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(OutskirtsError, match=r"state.safetensors is damaged .* Delete it and resume"):
        fit_manifold(*data, NAMES, options, tmp_path / "fit")


# Errors


def changed(**values):
    x, labels = parabolas(10)
    for key, value in values.items():
        if key == "labels":
            labels[0] = value
        else:
            x[0, 0] = value
    return x, labels


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (changed(labels=3), "Labels from 0 to 3 do not fit the 3 classes"),
        (changed(labels=-1), "Labels from -1 to 2 do not fit the 3 classes"),
        (changed(x=torch.nan), "1 of 30 embeddings are not finite"),
        (changed(x=torch.inf), "1 of 30 embeddings are not finite"),
        ((torch.rand(9, 6), torch.tensor([0] * 7 + [1] * 2)), "needs 3 embeddings.*: 'bee' has 2, 'fly' has 0."),
        ((torch.rand(9, 1), torch.zeros(9).long()), r"2 or more dimensions .* not to shapes \[9, 1\] and \[9\]"),
        ((torch.rand(9, 4), torch.zeros(8).long()), r"not to shapes \[9, 4\] and \[8\]"),
        ((torch.ones(9, 4), torch.arange(9) % 3), "All embeddings are equal"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(data, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        fit_manifold(*data, NAMES, ManifoldOptions(**SMALL))


def test_of_many_lacking_classes_a_few_are_named():
    with pytest.raises(OutskirtsError, match="'c5' has 0, and 3 more have too few"):
        fit_manifold(torch.rand(9, 4), torch.zeros(9).long(), [f"c{c}" for c in range(9)])


@pytest.mark.parametrize("form", [{"lr": 1e30}, {"lr": 1e30, "reference_quirks": True}])
def test_a_loss_that_is_not_finite_stops_the_fit(form):
    with pytest.raises(OutskirtsError, match=r"not finite after epoch \d; choose a lower lr than 1e\+30"):
        fit_manifold(*parabolas(), NAMES, ManifoldOptions(**SMALL, **form))
