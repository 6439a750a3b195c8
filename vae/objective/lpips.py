"""LPIPS, the report's perceptual term, by the package `lpips` (Zhang et al., arXiv 1801.03924).

The package brings the heads fitted to human judgement; the VGG16 under them is torchvision's, a
download of 528 MB that torch keeps in its cache. `vae/objective/perceptual.py` is a stand-in
without any.
"""

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shards import UserError
from shards.embedded import package

LEAST_SIDE = 16
"""Pixels a side that four poolings of VGG16 leave anything of."""


class LPIPS(nn.Module):
    """LPIPS 0.1 on VGG16, frozen.

    `vgg` is a file of torchvision's VGG16 weights, .pth or .safetensors, whole or `features.*`
    alone; None takes the one in torch's cache, downloading it when it is not there. The package
    would unpickle whatever is in the cache, so the trunk is loaded here, weights only. Without
    `load` no weights are read: something to count with.

    Raises:
        UserError: when the weights cannot be had, are of another network, or the heads inside the
            package are not those we know.
    """

    def __init__(self, vgg: Path | None = None, *, load: bool = True) -> None:
        super().__init__()
        import lpips

        package("lpips").paths()  # compared with the table; the package reads them itself
        weights = {} if not load else _cached_vgg() if vgg is None else _read(vgg)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # The package calls torchvision by names that are deprecated.
            warnings.simplefilter("ignore")
            self.net = lpips.LPIPS(net="vgg", pnet_rand=True, pretrained=load, verbose=False)
        self.eval().requires_grad_(False)
        if not load:
            return
        trunk: nn.Module = self.net.net
        try:
            # The package names layer 5 of torchvision's `features` slice2.5.
            names = {name: "features." + name.partition(".")[2] for name in trunk.state_dict()}
            trunk.load_state_dict({name: weights[theirs] for name, theirs in names.items()})
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"vgg={vgg} holds no VGG16 of torchvision ({str(error).splitlines()[0]}); "
                f"give {_vgg_name()}"
            ) from error

    def train(self, mode: bool = True) -> "LPIPS":
        """Stay in eval mode: the heads hold a dropout."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(b, 3, h, w) twice, in [-1, 1], 16 px or more a side -> distance (b,), 0 for equal."""
        return self.net(x, y).flatten()


def _vgg_url() -> str:
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1.url


def _vgg_name() -> str:
    return _vgg_url().rpartition("/")[2]


def _cached_vgg() -> dict[str, Tensor]:
    try:
        return torch.hub.load_state_dict_from_url(
            _vgg_url(), map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:
        raise UserError(
            f"LPIPS needs {_vgg_name()} of torchvision, which cannot be downloaded ({error}); put "
            f"it in {torch.hub.get_dir()}/checkpoints, set vgg to its path, or weights.lpips to 0"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds: OSError, SafetensorError, UnpicklingError
        # torch's own words on other files advise to trust them.
        plain = isinstance(error, OSError) or path.suffix == ".safetensors"
        reason = str(error).splitlines()[0] if plain and str(error) else "it holds no tensors alone"
        raise UserError(
            f"vgg={path} cannot be read ({reason}); give {_vgg_name()} of torchvision, or its "
            "weights as .safetensors"
        ) from error
