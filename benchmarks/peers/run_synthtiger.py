"""SynthTIGER: one text layer per line, merged over a layer that holds the photograph."""

# pyright: reportMissingImports=false
# The peer is installed in its own environment only.

import numpy as np
from PIL import Image
from synthtiger import layers

from benchmarks.peers._harness import Page, Spec, main


class SynthTiger:
    """Layers as its templates use them, without effects."""

    name = "synthtiger"
    package = "synthtiger"
    note = (
        "one layer per line (its own multiline style, one per word, takes several times as long), "
        "no effects; face 0 only, whole px; no layout, boxes or background decode"
    )
    keeps_glyphs = False

    def load(self, spec: Spec) -> None:
        """Nothing to keep: every layer opens its font anew."""

    def draw(self, page: Page, photograph: Image.Image) -> Image.Image:
        """Move each layer from its pen at the origin to its place; the first layer is on top."""
        stack: list[object] = []
        for line in page.lines:
            layer = layers.TextLayer(
                line.text, line.font, round(line.size_px), color=(*line.colour, 255)
            )
            layer.quad += (round(line.x), round(line.y))
            stack.append(layer)
        page_layer = layers.Layer(np.asarray(photograph))
        merged = layers.Group([*stack, page_layer]).output(bbox=page_layer.bbox)
        return Image.fromarray(merged[:, :, :3].astype(np.uint8))


if __name__ == "__main__":
    main(SynthTiger())
