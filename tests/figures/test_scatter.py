import pytest
import torch
from torch.nn.functional import normalize

from outskirts.errors import OutskirtsError
from outskirts.figures.scatter import plane
from outskirts.synthesis import BoundarySynthesizer, Outliers


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(classes=4, rows=30, dim=20, spread=0.2):
    generator = seeded()
    centres = torch.randn(classes, 1, dim, generator=generator)
    features = centres + spread * torch.randn(classes, rows, dim, generator=generator)
    return features.flatten(0, 1), torch.arange(classes).repeat_interleave(rows), [f"class {c}" for c in range(classes)]


def made_of(features, labels, n=24):
    chosen = BoundarySynthesizer(k=5, boundary=6, candidates=60, keep=6, sigma=0.05)
    return chosen.fit(features, labels).sample(n, seeded())


def scatters(figure):
    return {found.get_label(): found.get_offsets() for found in figure.axes[0].collections}


def test_classes_boundary_and_outliers_are_drawn_and_named():
    features, labels, classes = clusters()
    outliers = made_of(features, labels)
    figure = plane(features, labels, outliers, classes)
    drawn = scatters(figure)
    assert {name: len(points) for name, points in drawn.items()} == {
        **dict.fromkeys(classes, 30), "boundary": len(outliers.info["boundary"].unique()), "outliers": 24,
    }  # fmt: skip
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*classes, "boundary", "outliers"]
    assert figure.axes[0].get_xlabel() == "first discriminant"
    everything = {tuple(point) for name in classes for point in drawn[name].round(9).tolist()}
    assert {tuple(point) for point in drawn["boundary"].round(9).tolist()} <= everything


def test_the_plane_tells_the_classes_apart():
    features, labels, classes = clusters(dim=60, spread=0.5)
    # One dimension varies most and says nothing of the class, which principal components would show.
    features[:, 0] += 5 * torch.randn(len(features), generator=seeded(1))
    drawn = scatters(plane(features, labels, made_of(features, labels), classes))
    points = torch.stack([torch.tensor(drawn[name].data) for name in classes])
    means = points.mean(1)
    within = (points - means[:, None]).norm(dim=2).mean()
    assert torch.pdist(means).mean() > 4 * within


def test_two_classes_lie_on_their_principal_components():
    features, labels, classes = clusters(classes=2)
    figure = plane(features, labels, made_of(features, labels), classes)
    assert figure.axes[0].get_xlabel() == "first principal component"
    unit = normalize(features.double(), dim=1)
    _, _, axes = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)
    expected = (unit @ axes[:2].T).abs()[:30]
    found = torch.tensor(scatters(figure)["class 0"].data).abs()
    torch.testing.assert_close(found, expected)


def test_at_most_ten_classes_and_200_points_of_each_are_drawn():
    features, labels, classes = clusters(classes=13, rows=230, dim=5)
    chosen = labels == 12
    outliers = Outliers(features[chosen].repeat(2, 1), labels[chosen].repeat(2))
    drawn = scatters(plane(features, labels, outliers, classes))
    assert len(drawn) == 11 and "class 12" in drawn and "boundary" not in drawn
    assert {len(points) for points in drawn.values()} == {200}


def test_the_seed_chooses_what_is_drawn():
    features, labels, classes = clusters(classes=12, rows=5)
    outliers = Outliers(features[:0], labels[:0])
    one, same, other = (list(scatters(plane(features, labels, outliers, classes, seed))) for seed in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.eye(4).repeat_interleave(3, 0), torch.arange(4).repeat_interleave(3)),
        (torch.ones(12, 4), torch.arange(12) % 3),
        (torch.arange(12.0)[:, None] - 5, torch.arange(12) % 3),
        (torch.randn(4, 9, generator=seeded()), torch.tensor([0, 0, 1, 2])),
        (torch.randn(30, 2, generator=seeded()), torch.arange(30) % 3),
    ],
    ids=["collapsed", "constant", "one dimension", "single", "two dimensions"],
)
def test_degenerate_features_are_drawn(features, labels, tmp_path):
    drawn = plane(features, labels, Outliers(features[:1], labels[:1]), ["a", "b", "c", "d"])
    drawn.savefig(tmp_path / "plane.svg")
    assert len(scatters(drawn)["outliers"]) == 1


def test_every_name_is_in_the_legend_and_leaves_room():
    features, labels, _ = clusters(classes=3)
    names = ["a", "an extraordinarily long name of a class", "_hidden"]
    figure = plane(features, labels, made_of(features, labels), names)
    assert [text.get_text() for text in figure.legends[0].get_texts()][:3] == [
        "a",
        "an extraordinarily long…",
        " _hidden",
    ]


def test_shapes_that_do_not_fit_are_told():
    features, labels, classes = clusters()
    with pytest.raises(
        OutskirtsError, match=r"features \[N, D\] and outliers \[M, D\], not shapes \[120, 20\] and \[2"
    ):
        plane(features, labels, Outliers(torch.zeros(2, 19), labels[:2]), classes)
    with pytest.raises(OutskirtsError, match="three or more features"):
        plane(features[:2], labels[:2], Outliers(features, labels), classes)
