"""typst: a page of placed lines, compiled to a transparent PNG and pasted onto the photograph."""

# pyright: reportMissingImports=false
# The peer is installed in its own environment only.

import io
import tempfile
from pathlib import Path
from typing import Any

import typst
from PIL import Image

from benchmarks.peers._harness import Line, Page, Spec, main


class Typst:
    """One compiler with the fonts of the spec; each page is a document of its own."""

    name = "typst"
    package = "typst"
    note = (
        "includes its own PNG of the text and decoding it, the only way to pixels (a page with "
        "the photograph inside takes nearly twice as long); no layout, boxes or background decode"
    )
    keeps_glyphs = False

    def load(self, spec: Spec) -> None:
        """Register the fonts, each by a link in a folder of its own: folders are searched."""
        files = sorted({line.font for line in spec.lines})
        with tempfile.TemporaryDirectory() as folder:
            names = {
                str(Path(folder, str(i), Path(file).name)): file for i, file in enumerate(files)
            }
            for link, file in names.items():
                Path(link).parent.mkdir()
                Path(link).symlink_to(file)
            fonts = typst.Fonts(
                include_system_fonts=False, include_embedded_fonts=False, font_paths=[folder]
            )
            found: list[Any] = fonts.fonts()
            faces = {(Path(face.path).resolve(), face.index): _selector(face) for face in found}
            self._compiler = typst.Compiler(font_paths=fonts, ignore_system_fonts=True)
        self._faces = {
            (line.font, line.index): faces[Path(line.font).resolve(), line.index]
            for line in spec.lines
        }
        self._head = (
            f"#set page(width: {spec.width}pt, height: {spec.height}pt, margin: 0pt, fill: none)\n"
            '#set text(top-edge: "baseline", bottom-edge: "baseline", fallback: false, '
            "hyphenate: false, cjk-latin-spacing: none)\n"
        )

    def draw(self, page: Page, photograph: Image.Image) -> Image.Image:
        """Compile at 72 ppi, where one point is one pixel."""
        source = self._head + "\n".join(self._place(line) for line in page.lines)
        png = self._compiler.compile(input=source.encode(), format="png", ppi=72.0)
        image = photograph.copy()
        with Image.open(io.BytesIO(png)) as text:
            image.paste(text, (0, 0), text)
        return image

    def _place(self, line: Line) -> str:
        face = self._faces[line.font, line.index]
        red, green, blue = line.colour
        text = line.text.replace("\\", "\\\\").replace('"', '\\"')
        return (
            f"#place(top + left, dx: {line.x}pt, dy: {line.y}pt, text({face}, "
            f'size: {line.size_px}pt, fill: rgb({red}, {green}, {blue}), "{text}"))'
        )


def _selector(face: Any) -> str:
    return (
        f'font: "{face.family}", style: "{face.style}", weight: {face.weight}, '
        f"stretch: {face.stretch * 100}%"
    )


if __name__ == "__main__":
    main(Typst())
