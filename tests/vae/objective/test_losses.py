import hashlib
import subprocess
import sys
import warnings
from urllib.error import URLError

import cv2
import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import shards.embedded
import vae.objective.losses
import vae.objective.perceptual
from shards import ImageSource, UserError
from vae import LPIPS, VAE, AlignmentSettings, Objective, PerceptualEffLite0, Weights, to_image
from vae.objective.alignment import Alignment
from vae.objective.losses import build_objective, cropped, l1
from vae.objective.perceptual import load_efficientnet_lite0
from vae.training.step import Step


def photograph(name, side):
    source = ImageSource.embedded()
    (index,) = [i for i in range(len(source)) if name in source.name(i)]
    pixels = source.read(index).pixels()
    h, w = pixels.shape[:2]
    cut = min(h, w)
    y, x = (h - cut) // 2, (w - cut) // 2
    square = pixels[y : y + cut, x : x + cut]
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967, 968, 925})]
)
def test_the_network_still_knows_imagenet(name, classes):
    with torch.no_grad():
        logits = load_efficientnet_lite0()(to_image(photograph(name, 224))[None])
    assert set(logits[0].topk(3).indices.tolist()) == classes


def test_perceptual_distance_is_zero_for_equal_and_grows_with_blur():
    distance = PerceptualEffLite0()
    pixels = photograph("astronaut", 128)
    image = to_image(pixels)[None]
    blurred = [to_image(cv2.GaussianBlur(pixels, (0, 0), sigma))[None] for sigma in (0.5, 1, 2, 4)]
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
    known = shards.embedded.package(vae.objective.perceptual.PACKAGE)
    empty = dict.fromkeys(known.files, hashlib.sha256(b"").hexdigest())
    altered = known.model_copy(update={"files": empty})
    monkeypatch.setattr(vae.objective.perceptual, "package", lambda name: altered)
    with pytest.raises(UserError, match="expected e3b0c442"):
        PerceptualEffLite0()
    missing = known.model_copy(update={"module": "no_such_package"})
    monkeypatch.setattr(vae.objective.perceptual, "package", lambda name: missing)
    with pytest.raises(UserError, match="pip install"):
        PerceptualEffLite0()


def test_l1_by_hand():
    assert l1(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.0])).item() == 0.75


# LPIPS


@pytest.fixture(scope="module")
def package():
    """The package's own LPIPS, with a random VGG16."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)


@pytest.fixture(scope="module")
def features(package):
    """The package's VGG16 under torchvision's names."""
    trunk = package.net.state_dict()
    return {"features." + name.partition(".")[2]: value for name, value in trunk.items()}


@pytest.mark.parametrize("name", ["vgg.safetensors", "vgg.pth", None])
def test_lpips_is_the_package_s(package, features, name, tmp_path, monkeypatch):
    if name is None:  # torch's cache
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        file = tmp_path / "hub/checkpoints/vgg16-397923af.pth"
        file.parent.mkdir(parents=True)
    else:
        file = tmp_path / name
    if file.suffix == ".safetensors":
        save_file(features, file)
    else:
        torch.save(features | {"classifier.0.weight": torch.zeros(3)}, file)
    ours = LPIPS(None if name is None else file).train()
    x, y = (2 * torch.rand(2, 3, 32, 48) - 1 for _ in range(2))
    x.requires_grad_()
    with torch.no_grad():
        expected = package(x, y).flatten()
    found = ours(x, y)
    assert torch.equal(found, expected)
    assert found.shape == (2,)
    assert ours(y, y).abs().max() == 0
    found.sum().backward()
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in ours.parameters())
    assert not any(module.training for module in ours.modules())


class Payload:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_lpips_without_weights_says_how_to_get_them(features, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(
        UserError, match=r"needs vgg16-397923af.pth .*no route.*set vgg to its path"
    ):
        LPIPS()
    with pytest.raises(UserError, match=r"vgg=.*none.pth cannot be read \(.*No such file"):
        LPIPS(tmp_path / "none.pth")
    torch.save(Payload(), tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"cannot be read \(it holds no tensors alone\); give"):
        LPIPS(tmp_path / "evil.pth")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="holds no VGG16 of torchvision"):
        LPIPS(tmp_path / "other.safetensors")


# The objective


class Faint:
    """A model that gives back half of what it sees."""

    def encode(self, x):
        return x / 2

    def decode(self, z, size):
        assert z.shape[2:] == size
        return z


def rng():
    return np.random.default_rng(0)


def highest(x, y):
    return (x - y).abs().amax((1, 2, 3))


def test_objective_weighs_and_names_its_terms():
    weights = Weights(l1=2.0, perceptual=0.5, lpips=0.25)
    step = Step(Faint(), Objective(perceptual=highest, lpips=lambda x, y: 4 * highest(x, y)))
    image = torch.ones(2, 3, 4, 4)
    total, terms = step(image, weights, rng())
    values = {name: value.item() for name, value in terms.items()}
    assert values == {"l1": 0.5, "perceptual": 0.5, "lpips": 2}
    assert total.item() == 2 * 0.5 + 0.5 * 0.5 + 0.25 * 2
    total, terms = step(image, Weights(l1=4), rng())
    assert list(terms) == ["l1"]
    assert total.item() == 2


def test_lpips_sees_the_same_crop_of_both_and_all_of_small_images():
    seen = []

    def watch(x, y):
        seen.append((x, y))
        return highest(x, y)

    step = Step(Faint(), Objective(lpips=watch, lpips_side=16))
    image = torch.rand(3, 3, 24, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        step(image, Weights(lpips=1), rng())
    (shown, target), again = seen
    assert shown.shape == target.shape == (3, 3, 16, 16)
    assert torch.equal(shown, target / 2)
    assert torch.equal(shown, again[0])
    windows = image.unfold(2, 16, 1)  # (3, 3, 9, 16, 16), the last axis down
    assert all((windows[i].mT == target[i][:, None]).all((0, 2, 3)).any() for i in range(3))
    step(image[:, :, :16], Weights(lpips=1), rng())
    assert torch.equal(seen[2][1], image[:, :, :16])


def test_crops_are_in_the_order_of_their_images():
    images = torch.rand(2, 3, 20, 24).contiguous(memory_format=torch.channels_last)
    for crops in cropped((images, images), 16, np.random.default_rng(0)):
        assert crops.shape == (2, 3, 16, 16)
        assert crops.is_contiguous(memory_format=torch.channels_last)


def test_a_weight_without_its_term_is_named():
    with pytest.raises(ValueError, match=r"weights.lpips is above 0 but .* built without it"):
        Step(Faint(), Objective())(torch.ones(1, 3, 4, 4), Weights(lpips=1), rng())


def test_a_weight_of_zero_loads_nothing(tiny, monkeypatch):
    for name in ("LPIPS", "PerceptualEffLite0", "Alignment"):
        monkeypatch.setattr(vae.objective.losses, name, lambda *_: pytest.fail("loaded"))
    objective = build_objective(Weights(), AlignmentSettings(), tiny)
    assert not list(objective.modules())[1:]
    _, terms = Step(Faint(), objective)(torch.ones(1, 3, 4, 4), Weights(), rng())
    assert list(terms) == ["l1"]


def test_heavy_packages_are_not_imported_for_weights_of_zero_nor_the_plain_model():
    heavy = {"transformers", "lpips", "torchvision", "diffusers"}
    code = f"import sys, vae; print({heavy} & {{*sys.modules}})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_networks_see_the_colours_of_an_image_with_alpha(tiny, teacher):
    model = VAE(tiny.model_copy(update={"colours": 4}))
    aligned = Alignment(AlignmentSettings(teacher=teacher, match="input"), 6, 4)
    weights = Weights(perceptual=0.1, alignment=0.5)
    image = torch.rand(2, 4, 24, 16) * 2 - 1
    seen = []

    def watch(x, y):
        seen.append((x, y))
        return highest(x, y)

    objective = Objective(perceptual=watch, alignment=aligned)
    total, terms = Step(model, objective)(image, weights, rng())
    total.backward()
    assert terms["l1"] == (model(image) - image).abs().mean()
    [(shown, target)] = seen
    assert torch.equal(shown, model(image)[:, :3])
    assert torch.equal(target, image[:, :3])


def graph(tensor):
    """Every node of the graph behind a tensor."""
    nodes, left = set(), [tensor.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            left += [following for following, _ in node.next_functions]
    return nodes


def test_the_graph_has_neither_kl_nor_gan(tiny, teacher, images):
    weights = Weights(perceptual=0.1, lpips=0.1, alignment=0.5)
    model = VAE(tiny)
    settings = AlignmentSettings(teacher=teacher, match="input")
    objective = Objective(perceptual=highest, lpips=highest, alignment=Alignment(settings, 6, 4))
    step = Step(model, objective)
    total, terms = step(images, weights, rng())
    assert total == step(images, weights, rng())[0]  # no latent is sampled
    assert {"l1", "perceptual", "lpips", "alignment"} == terms.keys() & set(Weights.model_fields)
    nodes = graph(total)
    leaves = {id(node.variable) for node in nodes if hasattr(node, "variable")}
    learn = [*model.parameters(), *objective.learned().values()]
    assert leaves <= {id(p) for p in learn}  # no discriminator: nobody else takes part
    kinds = {type(node).__name__.removesuffix("Backward0") for node in nodes}
    # A KL needs the log variance or its exponent, a GAN's loss a softplus, sigmoid or logarithm.
    assert not kinds & {"Exp", "Expm1", "Log", "Log1P", "LogSigmoid", "Softplus", "Sigmoid"}
    total.backward()
    head = model.encoder.head.conv.weight.grad
    assert head[:6].abs().sum() > 0
    assert head[6:].abs().sum() == 0  # the log variances
