"""What is read from heat maps: exact on maps whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from fer_helpers import models
from fer_helpers.explain import attribution, grad_cam
from fer_helpers.faces import Preprocess


def one_box(name, down=0, right=0):
    """(1, 48, 48): all weight in one region."""
    return attribution.regions(down, right)[[attribution.REGIONS.index(name)]].astype(np.float32)


def test_regions_cover_the_face_once_and_move():
    still = attribution.regions()
    assert (still.sum(axis=0) == 1).all(), "the boxes don't overlap, and the surround is the rest"
    areas = dict(zip(attribution.REGIONS, still.sum(axis=(1, 2)).tolist(), strict=True))
    assert areas == {"brows": 198, "eyes": 198, "nose": 180, "mouth": 230, "surround": 1498}
    moved = attribution.regions(2, -2)
    assert (moved[:-1, 2:, :-2] == still[:-1, :-2, 2:]).all() and (moved.sum(axis=0) == 1).all()


def test_density_is_share_of_weight_over_share_of_area():
    still = attribution.regions()
    flat, empty = np.ones((1, 48, 48), np.float32), np.zeros((1, 48, 48), np.float32)
    found = attribution.densities(np.concatenate([flat, one_box("mouth"), empty]), still)
    assert found[0] == pytest.approx(np.ones(5))
    assert found[1] == pytest.approx([0, 0, 0, 48 * 48 / 230, 0]) and np.isnan(found[2]).all()
    assert attribution.densities(one_box("mouth", 2), still)[0, 3] == pytest.approx(0.8 * 48 * 48 / 230), "8 of 10 rows"


def noise(count, seed=0):
    return np.random.default_rng(seed).random((count, 48, 48)).astype(np.float32)


def test_a_claim_holds_fails_or_stays_open():
    alone, fresh = np.arange(60), np.stack([noise(60, seed) for seed in (1, 2)])
    at_the_mouth = attribution.claim(noise(60) + 20 * one_box("mouth"), fresh, "mouth", alone)
    assert at_the_mouth["verdict"] == "holds" and not at_the_mouth["unmet"]
    elsewhere = attribution.claim(noise(60) + 20 * one_box("mouth"), fresh, "eyes", alone)
    assert elsewhere["verdict"] == "doesn't" and "above the mouth" in elsewhere["unmet"]
    assert elsewhere["found"]["above the mouth"].interval[1] < 0
    either = noise(60)
    either[::2] += 20 * one_box("mouth")
    either[1::2] += 20 * one_box("eyes") * 230 / 198  # as much weight at the eyes of every other face
    either = attribution.claim(either, fresh, "mouth", alone)
    assert either["verdict"] == "inconclusive" and either["found"]["above the nose"].verdict == "higher"
    empty = attribution.claim(np.zeros((60, 48, 48), np.float32), fresh, "mouth", alone)
    assert empty["verdict"] == "inconclusive" and len(empty["unmet"]) == 7


def test_a_control_keeps_a_claim_from_holding_but_refutes_nothing():
    alone, mouth = np.arange(60), noise(60) + 20 * one_box("mouth")
    as_random = attribution.claim(mouth, np.stack([mouth + 5 * one_box("mouth")] * 2), "mouth", alone)
    assert as_random["verdict"] == "inconclusive" and as_random["unmet"] == ["above random weights"]
    empty = attribution.claim(mouth, np.zeros((2, 60, 48, 48), np.float32), "mouth", alone)
    assert empty["verdict"] == "holds", "a random network without maps favours no place"


def test_a_claim_must_hold_wherever_the_regions_are_placed_but_is_refuted_where_they_are_drawn():
    ones, alone = np.ones(50), np.arange(50)
    wobbling = np.where(np.arange(50) % 2, 1.0, -1.0)

    def told(*placements):
        return attribution.verdict([{"c": each} for each in placements], alone)["verdict"]

    assert told(ones, ones) == "holds" and told(ones, wobbling) == told(ones, -ones) == "inconclusive"
    assert told(-ones, ones) == "doesn't"


def test_the_more_conditions_the_more_it_takes_to_refute():
    alone, rng = np.arange(100), np.random.default_rng(0)
    low = rng.normal(0, 1, 100)
    low += -low.mean() - 0.21  # about two standard errors below zero
    few = attribution.verdict([{"c": low}], alone)
    many = attribution.verdict([{f"c{k}": low for k in range(20)}], alone)
    assert (few["verdict"], many["verdict"]) == ("doesn't", "inconclusive")


def test_the_whole_face_is_meant_by_an_even_map_of_the_face():
    alone, fresh, face = np.arange(40), np.stack([noise(40)]) + 3 * one_box("nose"), noise(40) + 5
    everywhere = attribution.claim(face, fresh, "whole face", alone)
    assert everywhere["unmet"] == ["face above the surround"], "a flat map is about no face"
    inside = face * np.where(attribution.regions()[-1], 0.2, 1.0)
    moved = attribution.claim(inside, fresh, "whole face", alone)
    assert moved["found"]["face above the surround"].verdict == "higher"
    still = attribution.verdict([each_condition(inside, fresh)], alone)
    assert still["verdict"] == "holds"
    tilted = attribution.claim(inside + 9 * one_box("mouth"), fresh, "whole face", alone)
    assert tilted["verdict"] == "doesn't" and "mouth not too dense" in tilted["unmet"]


def each_condition(maps, fresh):
    """The conditions of the whole face with the regions as drawn."""
    still = attribution.regions()
    random = np.stack([attribution.densities(each, still) for each in fresh])
    return attribution.even(
        attribution.densities(maps, still), random, attribution.densities(attribution.blob(), still)[0]
    )


def test_partners_give_the_same_answer():
    answers = np.array([3, 1, 3, 3, 5, 1])
    found = attribution.partners(answers)
    assert found.tolist() == [3, 5, 0, 2, -1, 1]


class Corner(nn.Module):
    """Sure of emotion 3 in proportion to the light in the middle, which no other pixel changes."""

    def __init__(self):
        super().__init__()
        self.preprocess = Preprocess()

    def forward(self, faces):
        light = faces[:, 0, 20:28, 20:28].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(light)] * 3 + [4 * light] + [torch.zeros_like(light)] * 3, dim=1)


def test_erasing_finds_the_pixels_that_matter():
    images = torch.zeros(5, 48, 48, dtype=torch.uint8)
    images[:, 20:28, 20:28] = 255
    good = np.zeros((5, 48, 48), np.float32)
    good[:, 20:28, 20:28] = 1
    deleted, inserted = attribution.erasing(Corner(), images, [3] * 5, good, steps=36)  # 64 pixels, one place, a step
    assert deleted.shape == inserted.shape == (5, 37)
    assert deleted[:, 1] == pytest.approx(deleted[:, -1]) and inserted[:, 1] == pytest.approx(inserted[:, -1])
    assert (deleted[:, 0] == inserted[:, -1]).all() and (deleted[:, -1] == inserted[:, 0]).all()
    assert (deleted[:, 0] > deleted[:, -1] + 0.3).all()
    bad_deleted, bad_inserted = attribution.erasing(Corner(), images, [3] * 5, 1 - good, steps=36)
    assert bad_deleted[:, :36] == pytest.approx(np.repeat(deleted[:, :1], 36, axis=1)), "they are taken last"
    assert bad_inserted.mean() < inserted.mean()


def test_equal_heat_is_erased_by_lot_not_from_the_top():
    images = torch.full((20, 48, 48), 0, dtype=torch.uint8)
    images[:, 20:28, 20:28] = 255
    deleted, _ = attribution.erasing(Corner(), images, [3] * 20, np.zeros((20, 48, 48), np.float32), steps=4)
    drop = deleted[:, :-1] - deleted[:, 1:]
    assert (drop.mean(axis=0) > 0.02).all(), "every quarter of the pixels holds some that matter"


def test_blurring_keeps_the_mean_and_takes_the_detail():
    images = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    soft = attribution.blur(images).float()
    assert soft.shape == images.shape and (soft.mean() - images.float().mean()).abs() < 3
    assert soft.std(dim=(1, 2)).max() < 8 < images.float().std(dim=(1, 2)).min()
    assert (attribution.blur(torch.full((1, 48, 48), 77, dtype=torch.uint8)) == 77).all()


@pytest.mark.parametrize("name", ["baseline", "small_cnn"])
def test_layers_are_drawn_anew_from_the_last_one(name):
    torch.manual_seed(0)
    model = models.build(name).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    depth, state = len(attribution.layers(model)), torch.get_rng_state()
    assert depth == {"baseline": 5, "small_cnn": 8}[name]
    weights = [part[0].weight for part in attribution.layers(model)]
    for count in range(depth + 1):
        fresh = [part[0].weight for part in attribution.layers(attribution.randomised(model, count))]
        same = [torch.equal(one, other) for one, other in zip(weights, fresh, strict=True)]
        assert same == [True] * (depth - count) + [False] * count
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state()), "random numbers of the rest of the notebook stay the same"


def test_maps_are_alike_by_correlation_and_empty_ones_are_left_out():
    maps = np.random.default_rng(0).random((4, 48, 48))
    maps[3] = 0
    assert attribution.alike(maps, 2 * maps + 1) == pytest.approx([1, 1, 1])
    assert attribution.alike(maps, -maps) == pytest.approx([-1, -1, -1])


def test_the_last_layer_of_a_size_is_found():
    model = models.build("small_cnn").train()
    image = torch.zeros(1, 48, 48, dtype=torch.uint8)
    sides = []
    for least in (24, 12, 6):
        layer = grad_cam.last_layer(model, image, least)
        sides.append(grad_cam.coarse_maps(model, image, torch.tensor([0]), layer=layer).shape[-1])
    assert sides == [24, 12, 6] and grad_cam.last_layer(model, image, 6) is model.cam_layer
    assert model.training and not any(part._forward_hooks for part in model.modules())
    with pytest.raises(ValueError, match="No layer of this network has maps of 99×99"):
        grad_cam.last_layer(model, image, 99)


def test_many_faces_are_mapped_batch_by_batch():
    torch.manual_seed(0)
    model = models.build("small_cnn").eval()
    images = torch.randint(0, 256, (7, 48, 48), dtype=torch.uint8)
    targets = np.arange(7)
    together = grad_cam.grad_cam(model, images, torch.from_numpy(targets)).numpy()
    assert np.allclose(grad_cam.many(model, images, targets, batch_size=3), together, atol=1e-5)
