"""Pillow alone: one `draw.text` per line, what a renderer written in an hour would do."""

from PIL import Image, ImageDraw, ImageFont

from benchmarks.peers._harness import Line, Page, Spec, main


class Pillow:
    """`ImageDraw.text` with fonts kept open."""

    name = "pillow"
    package = "pillow"
    note = "draw.text per line; no layout, boxes or background decode"
    keeps_glyphs = False

    def __init__(self) -> None:
        self._fonts: dict[tuple[str, int, float], ImageFont.FreeTypeFont] = {}

    def load(self, spec: Spec) -> None:
        """Open every font at every size."""
        for line in spec.lines:
            key = _key(line)
            if key not in self._fonts:
                self._fonts[key] = ImageFont.truetype(line.font, line.size_px, index=line.index)

    def draw(self, page: Page, photograph: Image.Image) -> Image.Image:
        """Draw the lines onto a copy."""
        image = photograph.copy()
        draw = ImageDraw.Draw(image)
        for line in page.lines:
            font = self._fonts[_key(line)]
            draw.text((line.x, line.y), line.text, line.colour, font, anchor="ls")
        return image


def _key(line: Line) -> tuple[str, int, float]:
    return line.font, line.index, line.size_px


if __name__ == "__main__":
    main(Pillow())
