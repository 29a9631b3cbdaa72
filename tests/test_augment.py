"""Augmentation: each face by itself, by known amounts."""

from dataclasses import replace

import torch

from fer_helpers.augment import Augment

OFF = Augment(*[0.0] * 8)


def ramp(count=64):
    """The same face, brighter from left to right, `count` times."""
    return torch.linspace(-1, 1, 48).expand(count, 1, 48, 48).contiguous()


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def changed(faces, **strengths):
    return replace(OFF, **strengths)(faces, draw())


def test_everything_off_changes_nothing():
    faces = ramp()
    assert torch.equal(changed(faces), faces)


def test_every_face_gets_its_own_change_and_the_same_seed_the_same():
    made = Augment()(ramp(), draw())
    assert made.shape == (64, 1, 48, 48)
    assert len({tuple(face.flatten().tolist()) for face in made}) == 64
    assert torch.equal(made, Augment()(ramp(), draw())) and not torch.equal(made, Augment()(ramp(), draw(1)))


def test_flip_mirrors_exactly_about_half_of_the_faces():
    faces = ramp(1000)
    made = changed(faces, flip=0.5)
    mirrored = made[:, 0, 0, 0] > 0
    assert 0.45 < mirrored.float().mean() < 0.55
    assert torch.allclose(made[mirrored][0], faces[0].flip(-1), atol=1e-5)
    assert torch.allclose(changed(faces, flip=1.0), faces.flip(-1), atol=1e-5)


def test_shift_stays_within_its_range():
    spot = torch.zeros(500, 1, 48, 48)
    spot[:, :, 23:25, 23:25] = 1
    made = changed(spot, shift=0.1)
    columns = (made.sum(dim=(1, 2)) * torch.arange(48)).sum(1) / made.sum(dim=(1, 2, 3))
    moved = columns - 23.5
    assert moved.abs().max() <= 4.8 + 0.1 and moved.min() < -4 and moved.max() > 4


def test_rotation_stays_within_its_range():
    point = torch.zeros(500, 1, 49, 49)
    point[:, :, 23:26, 43:46] = 1  # 20 pixels right of the centre
    made = changed(point, degrees=30.0)
    rows = (made.sum(dim=(1, 3)) * torch.arange(49)).sum(1) / made.sum(dim=(1, 2, 3)) - 24
    angles = torch.rad2deg(torch.asin((rows / 20).clamp(-1, 1)))
    assert angles.abs().max() < 31 and angles.min() < -25 and angles.max() > 25


def test_brightness_and_contrast_are_affine_in_the_pixels():
    made = changed(ramp(), brightness=0.3, contrast=0.2)
    slope = (made[:, 0, 0, -1] - made[:, 0, 0, 0]) / 2
    middle = (made[:, 0, 0, -1] + made[:, 0, 0, 0]) / 2
    assert (slope - 1).abs().max() <= 0.2 + 1e-5 and middle.abs().max() <= 0.3 + 1e-5
    assert slope.std() > 0.05 and middle.std() > 0.05


def test_erase_blanks_a_rectangle_in_its_share_of_the_faces():
    made = changed(torch.ones(1000, 1, 48, 48), erase=0.5)
    holes = (made == 0).flatten(1).sum(1)
    assert 0.4 < (holes > 0).float().mean() < 0.6 and holes.max() <= 0.26 * 48 * 48
