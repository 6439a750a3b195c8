"""The teacher of the alignment: the lower half of a frozen DINOv2.

The report aligns latents with one middle layer of DINOv2-L and found it better than the last layer
and than several; which of the 24 blocks is published nowhere. By default we take block 12's output.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shards import UserError
from shards.settings import digest
from shards.store import sha256_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, in [0, 1]: what DINOv2 was trained with."""


class Teacher(nn.Module):
    """Features of one middle block of DINOv2, at any size and aspect ratio.

    `source` is a folder with config.json and model.safetensors, or a hub id. `layer` counts the
    blocks that run, from 1; None takes half of them. The rest is dropped, which for block 12 of 24
    halves memory and work. Frozen, always in eval mode.

    The network's last LayerNorm was fitted to the last block and is left out (our choice).
    Without `load` no weights are read: something to count with.

    Raises:
        UserError: when transformers is not installed, or `source` has no such network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: str | Path, layer: int | None = None, *, load: bool = True) -> None:
        super().__init__()
        source = str(source)
        try:
            import transformers as _transformers
        except ImportError as error:
            raise UserError(
                "the alignment needs transformers; pip install 'nonpareil[alignment]', or set its "
                "weight to 0"
            ) from error
        del _transformers
        net = _load(source) if load else _bare(source)
        blocks = net.encoder.layer
        depth = len(blocks) // 2 if layer is None else layer
        if not 1 <= depth <= len(blocks):
            raise UserError(
                f"alignment.layer={depth}: the teacher {source} has blocks 1 to {len(blocks)}"
            )
        del blocks[depth:]
        self.width: int = net.config.hidden_size
        self.patch: int = net.config.patch_size
        net.layernorm = nn.Identity()
        self.net = net.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode."""
        del mode
        return super().train(False)

    def pixels(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """Resize (b, 3, h, w) in [-1, 1] to one patch per cell of `grid`, normalised for ImageNet.

        Bicubic with antialiasing, float32: DINOv2's own preprocessing, without its crop.
        """
        normal = ((image.float() + 1) / 2 - self.mean) / self.std
        size = (grid[0] * self.patch, grid[1] * self.patch)
        return functional.interpolate(normal, size, mode="bicubic", antialias=True)

    @torch.no_grad()
    def forward(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """(b, 3, h, w) in [-1, 1] -> features (b, width, *grid) float32, without gradient."""
        tokens = self.net(self.pixels(image, grid)).last_hidden_state[:, 1:]
        return tokens.mT.unflatten(2, grid).float()


PUBLISHED = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, blocks and heads of facebook/dinov2-NAME, so that a plan needs no network."""


def _bare(source: str) -> Any:
    """Build a DINOv2 as `_load` would, whose weights are whatever lies in memory."""
    from transformers import Dinov2Config, Dinov2Model
    from transformers.initialization import no_init_weights

    shape = PUBLISHED.get(source.removeprefix("facebook/dinov2-"))
    if shape is None:
        config = _config(source)
    else:
        width, blocks, heads = shape
        config = Dinov2Config(
            hidden_size=width,
            num_hidden_layers=blocks,
            num_attention_heads=heads,
            image_size=518,
            patch_size=14,
        )
    with no_init_weights():
        return Dinov2Model(config)


def _load(source: str) -> Any:
    """Load a whole DINOv2 from safetensors; no code or pickle from `source` ever runs.

    Raises:
        UserError: when there is none, it is another network, or some of its weights are missing.
    """
    from transformers import Dinov2Model

    config = _config(source)
    try:
        loaded: Any = Dinov2Model.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        net, report = loaded
        if report["missing_keys"]:
            raise ValueError(f"{len(report['missing_keys'])} of its weights are missing")
    except Exception as error:  # of many kinds: OSError, SafetensorError, those of the hub
        raise _no_teacher(source, error) from error
    return net


@cache
def teacher_fingerprint(folder: Path) -> str:
    """Digest the files of a teacher's folder that `Teacher` reads: moved, it is the same.

    Raises:
        UserError: when it has none.
    """
    files = [*folder.glob("config.json"), *sorted(folder.glob("*.safetensors"))]
    if not files:
        raise _no_teacher(str(folder), FileNotFoundError("it holds neither"))
    return digest({file.name: sha256_of(file) for file in files})


def _config(source: str) -> Any:
    from transformers import AutoConfig, Dinov2Config

    try:
        config = AutoConfig.from_pretrained(source)
        if not isinstance(config, Dinov2Config):
            raise ValueError(f"it is a {config.model_type}, not a dinov2")
    except Exception as error:  # of many kinds: OSError, those of the hub
        raise _no_teacher(source, error) from error
    return config


def _no_teacher(source: str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(
        f"no teacher in {source!r} ({reason}); give a hub id, or a folder with config.json and "
        "model.safetensors of a DINOv2"
    )
