"""What is read from heat maps: exact on maps whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from fer_helpers import models
from fer_helpers.explain import attribution, grad_cam
from fer_helpers.faces import Preprocess
from fer_helpers.publishing import rendering

UNMOVED = attribution.regions()
AREAS = {"brows": 198, "eyes": 198, "nose": 180, "mouth": 230, "surround": 1498}


def one_box(name, down=0):
    """(1, 48, 48): all weight in one region."""
    return attribution.regions(down)[[attribution.REGIONS.index(name)]].astype(np.float32)


def noise(count=60, seed=0):
    return np.random.default_rng(seed).random((count, 48, 48)).astype(np.float32)


MOUTH, FRESH = noise() + 20 * one_box("mouth"), np.stack([noise(seed=seed) for seed in (1, 2)])


def claimed(maps, region, fresh=FRESH):
    """The claim's verdict, what is unmet, and each condition's difference, for faces without a duplicate."""
    return tuple(attribution.claim(maps, fresh, region, np.arange(len(maps))).values())


def verdict_of(*placements):
    return attribution.verdict(list(placements), np.arange(len(next(iter(placements[0].values())))))["verdict"]


def test_regions_cover_the_face_once_and_move():
    assert (UNMOVED.sum(axis=0) == 1).all(), "the boxes don't overlap, and the surround is the rest"
    assert dict(zip(attribution.REGIONS, UNMOVED.sum(axis=(1, 2)).tolist(), strict=True)) == AREAS
    moved = attribution.regions(2, -2)
    assert (moved[:-1, 2:, :-2] == UNMOVED[:-1, :-2, 2:]).all() and (moved.sum(axis=0) == 1).all()


def test_density_is_share_of_weight_over_share_of_area():
    maps = np.concatenate([np.ones((1, 48, 48)), one_box("mouth"), np.zeros((1, 48, 48)), one_box("mouth", 2)])
    flat, mouth, empty, lower = attribution.densities(maps, UNMOVED)
    assert flat == pytest.approx(np.ones(5)) and np.isnan(empty).all()
    assert mouth == pytest.approx([0, 0, 0, 48 * 48 / 230, 0]) and lower[3] == pytest.approx(0.8 * mouth[3]), "8 of 10"


def test_a_claim_holds_fails_or_is_inconclusive():
    verdict, unmet, _ = claimed(MOUTH, "mouth")
    assert verdict == "holds" and not unmet
    verdict, unmet, differences = claimed(MOUTH, "eyes")
    assert verdict == "doesn't" and "above the mouth" in unmet and differences["above the mouth"].interval[1] < 0
    either = MOUTH.copy()
    either[1::2] += 20 * (one_box("eyes") * 230 / 198 - one_box("mouth"))  # as much weight at every other face's eyes
    verdict, _, differences = claimed(either, "mouth")
    assert verdict == "inconclusive" and differences["above the nose"].verdict == "higher"
    verdict, unmet, _ = claimed(np.zeros_like(MOUTH), "mouth")
    assert verdict == "inconclusive" and len(unmet) == 7


def test_a_control_keeps_a_claim_from_holding_but_refutes_nothing():
    verdict, unmet, _ = claimed(MOUTH, "mouth", np.stack([MOUTH + 5 * one_box("mouth")] * 2))
    assert verdict == "inconclusive" and unmet == ["above random weights"]
    verdict, *_ = claimed(MOUTH, "mouth", np.zeros_like(FRESH))
    assert verdict == "holds", "a random network without maps favours no place"


def test_a_claim_must_hold_wherever_the_regions_are_placed_but_is_refuted_where_they_are_drawn():
    up, down, wobbling = {"c": np.ones(50)}, {"c": -np.ones(50)}, {"c": np.where(np.arange(50) % 2, 1.0, -1.0)}
    assert verdict_of(up, up) == "holds" and verdict_of(up, wobbling) == verdict_of(up, down) == "inconclusive"
    assert verdict_of(down, up) == "doesn't"


def test_the_more_conditions_the_more_it_takes_to_refute():
    low = np.random.default_rng(0).normal(0, 1, 100)
    low += -low.mean() - 0.21  # about two standard errors below zero
    assert verdict_of({"c": low}) == "doesn't" and verdict_of({f"c{k}": low for k in range(20)}) == "inconclusive"


def test_the_whole_face_is_meant_by_an_even_map_of_the_face():
    fresh, face = noise(40)[None] + 3 * one_box("nose"), noise(40) + 5
    assert claimed(face, "whole face", fresh)[1] == ["face above the surround"], "a flat map is about no face"
    inside = face * np.where(UNMOVED[-1], 0.2, 1.0)
    _, _, differences = claimed(inside, "whole face", fresh)
    assert differences["face above the surround"].verdict == "higher"
    random, centre = attribution.densities(fresh[0], UNMOVED)[None], attribution.densities(attribution.blob(), UNMOVED)
    assert verdict_of(attribution.even(attribution.densities(inside, UNMOVED), random, centre[0])) == "holds"
    verdict, unmet, _ = claimed(inside + 9 * one_box("mouth"), "whole face", fresh)
    assert verdict == "doesn't" and "mouth not too dense" in unmet


def test_partners_give_the_same_answer():
    assert attribution.partners(np.array([3, 1, 3, 3, 5, 1])).tolist() == [3, 5, 0, 2, -1, 1]


class Middle(nn.Module):
    """Sure of emotion 3 in proportion to the light in the middle, which no other pixel changes."""

    preprocess = Preprocess()

    def forward(self, faces):
        return 4 * faces[:, 0, 20:28, 20:28].mean(dim=(1, 2))[:, None] * torch.eye(7)[3]


def curves(heats, steps):
    """Deletion and insertion of faces that are black but for the middle."""
    images = torch.zeros(len(heats), 48, 48, dtype=torch.uint8)
    images[:, 20:28, 20:28] = 255
    return attribution.erasing(Middle(), images, [3] * len(heats), heats, steps=steps)


def test_deletion_and_insertion_find_the_pixels_that_matter():
    good = np.zeros((5, 48, 48), np.float32)
    good[:, 20:28, 20:28] = 1
    deleted, inserted = curves(good, steps=36)  # 64 pixels, one place, a step
    assert deleted.shape == inserted.shape == (5, 37)
    assert deleted[:, 1] == pytest.approx(deleted[:, -1]) and inserted[:, 1] == pytest.approx(inserted[:, -1])
    assert (deleted[:, 0] == inserted[:, -1]).all() and (deleted[:, -1] == inserted[:, 0]).all()
    assert (deleted[:, 0] > deleted[:, -1] + 0.3).all()
    bad_deleted, bad_inserted = curves(1 - good, steps=36)
    assert bad_deleted[:, :36] == pytest.approx(np.repeat(deleted[:, :1], 36, axis=1)), "they are taken last"
    assert bad_inserted.mean() < inserted.mean()


def test_pixels_of_equal_heat_are_taken_in_random_order_not_from_the_top():
    deleted, _ = curves(np.zeros((20, 48, 48), np.float32), steps=4)
    drop = deleted[:, :-1] - deleted[:, 1:]
    assert (drop.mean(axis=0) > 0.02).all(), "every quarter of the pixels holds some that matter"


def test_blurring_keeps_the_mean_and_takes_the_detail():
    images = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    soft = attribution.blur(images).float()
    assert soft.shape == images.shape and (soft.mean() - images.float().mean()).abs() < 3
    assert soft.std(dim=(1, 2)).max() < 8 < images.float().std(dim=(1, 2)).min()
    assert (attribution.blur(torch.full((1, 48, 48), 77, dtype=torch.uint8)) == 77).all()


@pytest.mark.parametrize(("name", "depth"), [("baseline", 5), ("small_cnn", 8)])
def test_layers_get_new_random_weights_from_the_last_one(name, depth):
    model = models.build(name).eval()
    before, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    weights = [part[0].weight for part in attribution.layers(model)]
    assert len(weights) == depth
    for count in range(depth + 1):
        fresh = [part[0].weight for part in attribution.layers(attribution.randomised(model, count))]
        same = [torch.equal(one, other) for one, other in zip(weights, fresh, strict=True)]
        assert same == [True] * (depth - count) + [False] * count
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state()), "random numbers of the rest of the notebook stay the same"


def test_batch_norm_with_parts_of_its_own_is_drawn_anew_too():
    pytest.importorskip("timm")
    model = models.build("transfer", backbone="efficientnet_lite0", size=96)
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for part in norms:
        part.weight.data.fill_(5)
    fresh = attribution.randomised(model, len(attribution.layers(model)))
    weights = [part.weight for part in fresh.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(weights) == len(norms) == 49 and all((weight == 1).all() for weight in weights)


def test_maps_are_alike_by_correlation_and_empty_ones_are_left_out():
    maps = np.random.default_rng(0).random((4, 48, 48))
    maps[3] = 0
    assert attribution.alike(maps, 2 * maps + 1) == pytest.approx([1, 1, 1])
    assert attribution.alike(maps, -maps) == pytest.approx([-1, -1, -1])


def test_the_last_layer_of_a_size_is_found():
    model, image = models.build("small_cnn").train(), torch.zeros(1, 48, 48, dtype=torch.uint8)
    for least in (24, 12, 6):
        layer = grad_cam.last_layer(model, image, least)
        assert grad_cam.coarse_maps(model, image, torch.tensor([0]), layer=layer).shape[-1] == least
    assert layer is model.cam_layer
    assert model.training and not any(part._forward_hooks for part in model.modules())
    with pytest.raises(ValueError, match="No layer of this network has maps of 99×99"):
        grad_cam.last_layer(model, image, 99)


def test_a_claim_is_told_network_by_network():
    words = {"one": ("holds", "doesn't"), "two": ("holds", "inconclusive"), "one, finer layer": ("doesn't", "holds")}
    claims = {
        name: {"happy": {"region": "mouth", "verdict": happy}, "neutral": {"region": "whole face", "verdict": neutral}}
        for name, (happy, neutral) in (words | {"second seed": ("holds", "holds")}).items()
    }
    told = rendering.ENVIRONMENT.get_template("claims.md.j2").module.claims({"model": "one", "claims": claims})
    assert " ".join(told.split()) == (
        'By the Grad-CAM maps of PrivateTest, "the mouth for happy" holds in 2 of 2 networks, '
        '"the whole face for neutral" holds in 0 (inconclusive in 1).'
    ), "another layer and another seed are no further networks"
