"""The linear codecs that any network has to beat: the DCT, and the principal components."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.ablation.arms import MODELS
from benchmarks.ablation.crops import KINDS, Crops
from benchmarks.ablation.runs import Exam, Reading, score
from shards import Settings
from shards.store import write_atomically
from vae import DCTCodec, VAESettings, to_image
from vae.skips import SKIPS

PART = 512
"""Crops that are looked at together."""


class CodecScore(Settings):
    """Held-out scores of a codec without a network, as `runs.Point` and `runs.Result` have them."""

    model: str
    codec: str
    l1: dict[str, float]
    psnr: dict[str, float]
    readings: dict[int, Reading]


class CodecScores(Settings):
    """Those of every codec; `crops` is the digest of the images."""

    crops: str
    codecs: tuple[CodecScore, ...]


class PCACodec(nn.Module):
    """Keep the C principal components of every f x f block: the best linear code there is.

    "Best" on the crops of the training set, in squared error; the skip that starts from them does
    the work, and no network stands beside it.
    """

    def __init__(self, settings: VAESettings, crops: Crops) -> None:
        super().__init__()
        learned = settings.model_dump() | {"skip": "global-learned", "mirror": True}
        self.skip = SKIPS["global-learned"](VAESettings.model_validate(learned))
        self.skip.start_from(_parts(crops))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (b, 3, h, w) in [-1, 1]; sides must be multiples of f."""
        folded = self.skip.fold(x)
        assert folded is not None
        image = self.skip.mirror(folded)
        assert image is not None
        return image


def measure_codecs(path: Path, crops: Crops, exam: Exam) -> None:
    """Write the scores of every codec for every model to `path`, unless they are there."""
    if path.exists() and CodecScores.model_validate_json(path.read_text()).crops == crops.digest:
        return
    scores = tuple(
        _score(model, name, codec, crops, exam)
        for model, settings in MODELS.items()
        for name, codec in (
            ("DCT", DCTCodec(settings.factor, settings.channels)),
            ("PCA", PCACodec(settings, crops)),
        )
    )
    found = CodecScores(crops=crops.digest, codecs=scores)
    write_atomically(path, found.model_dump_json(indent=1) + "\n")


@torch.no_grad()
def _score(model: str, name: str, codec: nn.Module, crops: Crops, exam: Exam) -> CodecScore:
    both = {kind: score(codec, to_image(crops.held_out[kind])) for kind in KINDS}
    return CodecScore(
        model=model,
        codec=name,
        l1={kind: found[0] for kind, found in both.items()},
        psnr={kind: found[1] for kind, found in both.items()},
        readings=exam.read(codec),
    )


def _parts(crops: Crops) -> Iterator[Tensor]:
    for images in crops.train.values():
        for start in range(0, len(images), PART):
            yield to_image(images[start : start + PART])
