import torch
from torch import Generator

from outskirts.synthesis.jigsaw import far_outliers, jigsaw


def seeded():
    return Generator().manual_seed(0)


def test_pieces_change_places():
    image = torch.arange(16.0).view(1, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = jigsaw(image, seeded())
    assert found.shape == image.shape and not torch.equal(found, image)
    squares = found.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2, 3).flatten(3)[0, 0]
    assert (squares == squares[:, :1]).all(), "squares stay whole"
    assert sorted(squares[:, 0].tolist()) == list(range(16))


def test_what_squares_leave_over_stays():
    images = torch.rand(2, 3, 10, 11, generator=seeded())
    found = jigsaw(images, seeded())
    assert torch.equal(found[:, :, 8:], images[:, :, 8:]) and torch.equal(found[:, :, :, 8:], images[:, :, :, 8:])
    assert torch.equal(found.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
    small = torch.rand(1, 1, 3, 3, generator=seeded())
    assert torch.equal(jigsaw(small, seeded()), small)


def test_half_noise_half_disorder():
    images = torch.full((6, 3, 8, 8), 7.0)
    found = far_outliers(images, 5, seeded())
    assert found.shape == (5, 3, 8, 8)
    assert (found[2:] == 7).all() and (found[:2] != 7).all() and abs(found[:2].std() - 1) < 0.1
    assert len(far_outliers(images, 0, seeded())) == 0
