"""docTR-Synth-Generator: its coverage, recolouring and compositing, whole lines at given places."""

# pyright: reportMissingImports=false
# The peer is installed in its own environment only.

from generator.components.config import GenerationConfig
from generator.components.text_renderer import TextRenderer, TextStyle
from generator.components.text_styling import recolor_coverage
from PIL import Image, ImageFont

from benchmarks.peers._harness import Line, Page, Spec, main


class DoctrSynth:
    """What its `PageGenerator` does for a word, done for a line, without the random choices."""

    name = "doctr_synth"
    package = "doctr-synth-generator"
    note = (
        "whole lines instead of words, supersampling and every effect off; face 0 only, whole px; "
        "no layout, boxes or background decode"
    )
    keeps_glyphs = False

    def load(self, spec: Spec) -> None:
        """Switch the effects off; learn where each strip belongs: the peer places by top edge."""
        config = GenerationConfig.flat(
            supersample=1,
            padding=0,
            rotation_prob=0.0,
            perspective_prob=0.0,
            pixel_dropout_prob=0.0,
            blur_prob=0.0,
        )
        self._renderer = TextRenderer(config)
        self._places = {line: _place(line) for line in spec.lines}

    def draw(self, page: Page, photograph: Image.Image) -> Image.Image:
        """Composite each line onto an RGBA page, as the peer does."""
        image = photograph.convert("RGBA")
        for line in page.lines:
            coverage = self._renderer.render_coverage(line.text, line.font, round(line.size_px))
            style = TextStyle(fill_color=line.colour)
            image.alpha_composite(recolor_coverage(coverage, style), self._places[line])
        return image.convert("RGB")


def _place(line: Line) -> tuple[int, int]:
    """Return where the strip's corner goes: strips are cut at the box that Pillow names."""
    font = ImageFont.truetype(line.font, round(line.size_px))
    left, top, _, _ = font.getbbox(line.text, anchor="ls")
    return round(line.x + left), round(line.y + top)


if __name__ == "__main__":
    main(DoctrSynth())
