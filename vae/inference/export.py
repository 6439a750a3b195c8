"""Encoder and decoder as ONNX files, for any batch and size.

onnx and onnxscript are optional (the `export` extra) and imported by torch when it exports.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from shards import UserError
from vae.model import VAE

OPSET = 18
"""The opset torch's exporter writes without converting; every runtime of 2023 and later has it."""


class _Encode(nn.Module):
    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        mean, _ = self.model.encoder(image, self.model.skip.fold(image))
        return mean


class _Decode(nn.Module):
    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor) -> Tensor:
        return self.model.decoder(latent, self.model.skip.mirror(latent))


def export_onnx(model: VAE, folder: Path) -> tuple[Path, Path]:
    """Write folder/encoder.onnx and folder/decoder.onnx, in float32, and return both paths.

    `image` (b, colours, h, w) in [-1, 1] -> `latent` (b, C, h/f, w/f), and back; b, h, w, i and j
    are free. Sides must be whole blocks of the factor: padding and cropping, which `VAE.encode`
    and `decode` do, are left to the caller (repeat the last row and column; vae/sizes.py).

    Raises:
        UserError: when onnx or onnxscript is not installed.
    """
    try:
        import onnx as _onnx
        import onnxscript as _onnxscript
    except ImportError as error:
        raise UserError(
            f"exporting needs {error.name}; install it with pip install 'nonpareil[export]'"
        ) from error
    del _onnx, _onnxscript
    folder.mkdir(parents=True, exist_ok=True)
    settings = model.settings
    f = settings.factor
    batch, rows, columns = Dim("b", max=4096), Dim("i", max=4096), Dim("j", max=4096)
    latent = torch.zeros(2, settings.channels, 3, 4)
    image = torch.zeros(2, settings.colours, 3 * f, 4 * f)
    encoder, decoder = folder / "encoder.onnx", folder / "decoder.onnx"
    _export(_Encode(model), image, "latent", {0: batch, 2: f * rows, 3: f * columns}, encoder)
    _export(_Decode(model), latent, "image", {0: batch, 2: rows, 3: columns}, decoder)
    return encoder, decoder


@torch.no_grad()
def _export(
    part: nn.Module, example: Tensor, output: str, free: dict[int, Dim], path: Path
) -> None:
    taken = {"latent": "image", "image": "latent"}[output]
    torch.onnx.export(
        part.eval(),
        (example,),
        str(path),
        input_names=[taken],
        output_names=[output],
        dynamic_shapes={taken: free},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
