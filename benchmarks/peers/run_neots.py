"""NeoTextSynthesizer: line strips from C++ with its glyph cache, pasted as masks."""

# pyright: reportMissingImports=false
# The peer is installed in its own environment only.

from typing import Any

from neots import SingleLineTextGenerator
from PIL import Image, ImageFont

from benchmarks.peers._harness import Line, Page, Spec, main

MARGIN = 5
"""neots shifts each strip by up to five units to either side; this much margin keeps the ends."""


class Neots:
    """One generator for each font and size, so that nothing is resampled."""

    name = "neots"
    package = "neots"
    note = (
        "line strips pasted as masks, effects off, one generator per font and size, caches warm; "
        "face 0 only, whole px; its jitter of 3 px up or down, which has no switch, cuts some "
        "lines; no layout, boxes or background decode"
    )
    keeps_glyphs = True

    def __init__(self) -> None:
        self._generators: dict[tuple[str, int], Any] = {}
        self._inks: dict[Line, tuple[int, int, int]] = {}

    def load(self, spec: Spec) -> None:
        """Make the generators; learn where the ink of each line begins and ends."""
        fonts: dict[tuple[str, int], ImageFont.FreeTypeFont] = {}
        for line in spec.lines:
            key = _key(line)
            if key not in fonts:
                fonts[key] = ImageFont.truetype(*key)
                height = max(10, sum(fonts[key].getmetrics()))
                config = _config(*key, height)
                self._generators[key] = SingleLineTextGenerator.from_config(config)
            self._inks[line] = _ink(line, fonts[key])

    def draw(self, page: Page, photograph: Image.Image) -> Image.Image:
        """Paste the lines in their colours, each moved back by the jitter seen in its ink."""
        image = photograph.copy()
        for line in page.lines:
            strip = self._generators[_key(line)].generate_instance(line.text, type="numpy")
            mask = Image.fromarray(strip[:, :, 0])
            left, top, _, bottom = mask.getbbox() or (0, 0, 0, 0)
            ink_left, ink_top, ink_bottom = self._inks[line]
            # An edge that touches the strip's may be cut: the other one tells the place then.
            down = ink_top - top if top else ink_bottom - bottom
            image.paste(line.colour, (ink_left - left, down), mask)
        return image


def _key(line: Line) -> tuple[str, int]:
    return line.font, round(line.size_px)


def _ink(line: Line, font: ImageFont.FreeTypeFont) -> tuple[int, int, int]:
    """Return left, top and bottom of the line's ink on the page."""
    mask, (x, y) = font.getmask2(line.text, mode="L", anchor="ls")
    left, top, _, bottom = mask.getbbox() or (0, 0, 0, 0)
    x, y = round(line.x) + x, round(line.y) + y
    return x + left, y + top, y + bottom


def _config(font: str, size: int, height: int) -> dict[str, Any]:
    """White on black, all effects off, strips as high as the font's metrics: never resized."""
    return {
        "text_sampler": {
            "min_targets": 1,
            "max_targets": 1000,
            "font_size": size,
            "vertical_prob": 0.0,
            "sample_strategy": "font-first",
            "font_list": [font],
        },
        "random_config": [{"type": "random", "prob": 1.0, "from_string": "unused"}],
        "bg_sampler": {
            "bg_image_prob": 0.0,
            "gray_bg_prob": 0.0,
            "text_color": "#FFFFFF",
            "bg_color": "#000000",
            "bg_list": [],
        },
        "post_process": {
            "text_effects": {"effect_prob": 0.0, "partial_effect_prob": 0.0},
            "text_paste": {
                "scale_range": [1.0, 1.0],
                "margin_range": [MARGIN, MARGIN],
                "offset_prob": 0.0,
                "h_offset_range": [0, 0],
                "v_offset_range": [0, 0],
            },
            "transforms": {
                "rotation_prob": 0.0,
                "rotation_range": [0, 0],
                "distortion_prob": 0.0,
                "distortion_level": 0.0,
            },
        },
        "generate": {
            "output_height": height,
            "retry_on_error": False,
            "out_jsonl": "unused",
            "out_dir": "unused",
            "batchsize": 1,
            "hierarchical_structure": [1, 1],
        },
    }


if __name__ == "__main__":
    main(Neots())
