"""Encode and decode large images tile by tile, exactly as the whole.

    latent    │ tile 1 │ tile 2 │ tile 3 │      each is decoded together with a halo of what
                  ├ halo ┤      ├ halo ┤        surrounds it, and the halo is thrown away

Every layer is local, so a value depends on a bounded square of its input. The halo is that bound,
found by walking the layers (`spread`); a tile with it has all that its values depend on. A tile is
clipped at the border of the image, where its zero padding is the whole image's, and begins on
whole blocks, so strides and folds fall as they do in the whole.

So tiled and whole are the same sums of the same numbers. In the order of the sums they differ:
fast kernels choose it by the shape of the map, and results agree up to rounding (docs/vae.md).
Under `ShapeInvariant` (vae/inference/invariant.py) they agree bit for bit, in float32 on a CPU;
it is slower, and meant for where bits matter, not for looking at pictures.

Letters: b batch, c channel, h/w pixels, i/j latent rows and columns, f factor.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae.layers import (
    AverageDown,
    ChannelToSpace,
    Down,
    DuplicateUp,
    Head,
    Level,
    NormSiLU,
    ResBlock,
    SpaceToChannel,
    Up,
)
from vae.model import VAE, Decoder, Encoder
from vae.sizes import check_image, check_latent, crop, pad

SIDE = 1024
"""Side in px of a tile without its halo: at 2x the work of the whole (f16c64), a tile of 1600 px
holds a seventh of a 4096 px image."""

MAPS = 12
"""Maps of the finest level, as wide as it ends, that decoding takes at its peak: input, mirror
stem, norm, conv, and what the convs reorder. Measured on a CPU: nano 10 to 12, tiny 6, small 7
to 9."""

KERNELS = 2**27
"""Bytes of the library's kernels for the nine shapes of tiles there are: inside, edges, corners."""


class Margin(NamedTuple):
    """How far in from a cut a map differs from the whole's: left and above, right and below."""

    before: int
    after: int


def spread(layer: nn.Module, margin: Margin) -> Margin:
    """Return the margin of what `layer` makes of a map with `margin`, in its output's pixels.

    Exact, not a bound, unless weights are zero: a value that lies in the margin does depend on
    what was cut off.

    Raises:
        TypeError: for a layer whose reach is not known here; give it a case below.
    """
    match layer:
        case NormSiLU() | nn.Identity():
            return margin
        case nn.Conv2d():
            # Output o reads the inputs stride o - padding ... stride o - padding + size - 1.
            (size, _), (stride, _), padding = layer.kernel_size, layer.stride, layer.padding[0]
            assert isinstance(padding, int)
            before = _ceil(margin.before + padding, stride)
            return Margin(before, _ceil(margin.after + size - padding, stride) - 1)
        case Down():
            return spread(layer.conv, margin)
        case Up():
            return spread(layer.conv, Margin(2 * margin.before, 2 * margin.after))
        case SpaceToChannel():
            return Margin(*(_ceil(side, layer.factor) for side in margin))
        case ChannelToSpace():
            return Margin(*(side * layer.factor for side in margin))
        case AverageDown():
            return spread(layer.space_to_channel, margin)
        case DuplicateUp():
            return spread(layer.channel_to_space, margin)
        case nn.Sequential():
            return _along(margin, *layer)
        case Head():
            return _along(margin, layer.norm, layer.conv)
        case ResBlock():
            body = _along(margin, layer.norm1, layer.conv1, layer.norm2, layer.conv2)
            return _widest(body, spread(layer.shortcut, margin))
        case Level():
            body = spread(layer.body, margin)
            return body if layer.shortcut is None else _widest(body, spread(layer.shortcut, margin))
        case Encoder():
            # The skip's fold works block by block and adds no reach.
            return _along(margin, layer.stem, layer.levels, layer.middle, layer.head)
        case Decoder():
            features = _along(margin, layer.stem, layer.middle, layer.levels)
            # Nor does its mirror, but the finest level may be fed from it through a conv.
            fed = _widest(features, spread(layer.mirror_stem, Margin(0, 0)))
            return _along(fed, layer.finest, layer.head, layer.channel_to_space)
        case _:
            raise TypeError(
                f"the reach of {type(layer).__name__} is not known to vae/inference/tiling.py"
            )


def _along(margin: Margin, *layers: nn.Module) -> Margin:
    return reduce(lambda reached, layer: spread(layer, reached), layers, margin)


def _widest(*margins: Margin) -> Margin:
    return Margin(*map(max, zip(*margins, strict=True)))


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def halo(part: Encoder | Decoder, factor: int) -> int:
    """Return how many latents around a tile `part` needs for the values of the whole.

    For an encoder that is `factor` times as many pixels.
    """
    reached = max(spread(part, Margin(0, 0)))
    return reached if isinstance(part, Encoder) else _ceil(reached, factor)


class Span(NamedTuple):
    """Latent rows (or columns) [start, stop) of a tile, and [low, high) read to make them."""

    low: int
    start: int
    stop: int
    high: int


def spans(length: int, side: int, margin: int) -> Iterator[Span]:
    """Cut [0, length) into even spans of at most `side`, each read with `margin` around it."""
    count = _ceil(length, side)
    for start, stop in pairwise(length * k // count for k in range(count + 1)):
        yield Span(max(start - margin, 0), start, stop, min(stop + margin, length))


class Tiled:
    """A VAE whose encode and decode work tile by tile; without gradients.

    `side` px is what a tile contributes. Its halo comes on top, so memory is that of an image of
    side + 2 f halo px, and of the result. With `overlap` None the halo is the model's reach and
    the result is exact (the top of this file says to which bit). An `overlap` in latents is the
    fast mode: a smaller halo than the reach, with tiles blended linearly over the half of the
    overlap that the cuts spoil least. It is an approximation; docs/vae.md says how good.
    """

    def __init__(self, model: VAE, side: int = SIDE, overlap: int | None = None) -> None:
        """Check and hold the sizes.

        Raises:
            ValueError: when `side` is no positive multiple of the model's factor, or `overlap` is
                not in [1, a quarter of a tile].
        """
        factor = model.settings.factor
        if side < factor or side % factor:
            raise ValueError(f"side={side} must be a multiple of the model's factor {factor}")
        if overlap is not None and not 1 <= overlap <= side // factor // 4:
            raise ValueError(
                f"overlap={overlap} latents must be 1 to a quarter of a tile of "
                f"{side // factor} latents; give a larger side, or None for the exact mode"
            )
        self.model, self.side, self.overlap = model, side, overlap

    @torch.no_grad()
    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(b, colours, h, w) in [-1, 1] -> what `VAE.posterior` says.

        Raises:
            ValueError: when x is no batch of images of this many colours.
        """
        model, factor = self.model, self.model.settings.factor
        check_image(x, model.settings.colours)

        def encode(tile: Tensor) -> Tensor:
            return torch.cat(model.posterior(tile), 1)

        out = self._assemble(pad(x, factor), encode, halo(model.encoder, factor), factor, 1)
        mean, log_variance = out.chunk(2, 1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """(b, colours, h, w) in [-1, 1] -> latent (b, C, ceil(h/f), ceil(w/f)) as `VAE.encode`.

        Raises:
            ValueError: when x is no batch of images of this many colours.
        """
        return self.posterior(x)[0]

    @torch.no_grad()
    def decode(self, z: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Latent (b, C, i, j) -> image (b, colours, f i, f j), cropped to `size`, as `VAE.decode`.

        Raises:
            ValueError: when z does not have C channels, or `size` is no size z can come from.
        """
        model, factor = self.model, self.model.settings.factor
        check_latent(z, model.settings.channels)
        out = self._assemble(z, model.decode, halo(model.decoder, factor), 1, factor)
        return crop(out, size, factor)

    def decode_bytes(self, size: tuple[int, int]) -> int:
        """Bound the bytes that decoding one image of `size` (h, w) px takes beside the weights.

        The image, MAPS maps of one tile with its halo, and KERNELS.
        """
        model, settings = self.model, self.model.settings
        latents = halo(model.decoder, settings.factor) if self.overlap is None else self.overlap
        whole = [_ceil(length, settings.factor) * settings.factor for length in size]
        h, w = (min(self.side + 2 * latents * settings.factor, length) for length in whole)
        maps = MAPS * settings.decoder_width * settings.multipliers[0] * h * w // settings.patch**2
        number = next(model.parameters()).element_size()
        return number * (settings.colours * whole[0] * whole[1] + maps) + KERNELS

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (b, colours, h, w) in [-1, 1]; same shape, not clamped."""
        return self.decode(self.encode(x), (x.shape[2], x.shape[3]))

    __call__ = forward

    def _assemble(
        self, x: Tensor, work: Callable[[Tensor], Tensor], reach: int, per_in: int, per_out: int
    ) -> Tensor:
        """Apply `work` to tiles of x; a latent is `per_in` pixels of x, `per_out` of the result."""
        side = self.side // self.model.settings.factor
        margin = reach if self.overlap is None else self.overlap
        height, width = x.shape[2] // per_in, x.shape[3] // per_in
        out: Tensor | None = None
        for rows, columns in product(spans(height, side, margin), spans(width, side, margin)):
            made = work(x[:, :, _read(rows, per_in), _read(columns, per_in)])
            if out is None:
                out = made.new_zeros(*made.shape[:2], height * per_out, width * per_out)
            if self.overlap is None:
                inner = made[:, :, _inner(rows, per_out), _inner(columns, per_out)]
                out[:, :, _core(rows, per_out), _core(columns, per_out)] = inner
            else:
                weight = _ramp(rows, height, per_out, made)[:, None] * _ramp(
                    columns, width, per_out, made
                )
                out[:, :, _read(rows, per_out), _read(columns, per_out)] += made * weight
        assert out is not None, "x is not empty"
        return out


def _read(span: Span, per: int) -> slice:
    return slice(span.low * per, span.high * per)


def _core(span: Span, per: int) -> slice:
    return slice(span.start * per, span.stop * per)


def _inner(span: Span, per: int) -> slice:
    return slice((span.start - span.low) * per, (span.stop - span.low) * per)


def _ramp(span: Span, length: int, per: int, like: Tensor) -> Tensor:
    """Weights of a span's pixels: 1 inside, falling to 0 over the middle half of each overlap.

    The weights of two neighbours add up to 1.
    """
    at = torch.arange(span.low * per, span.high * per, device=like.device) + 0.5
    weight = torch.ones_like(at)
    if span.start > 0:
        weight *= _rise((at / per - span.start) / (span.start - span.low))
    if span.stop < length:
        weight *= 1 - _rise((at / per - span.stop) / (span.high - span.stop))
    return weight.to(like.dtype)


def _rise(distance: Tensor) -> Tensor:
    """0 to 1 over the middle half of an overlap that lasts from distance -1 to 1."""
    return (distance + 0.5).clamp(0, 1)
