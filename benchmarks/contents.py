"""What pages of the default recipe hold: designs of type, characters, sizes, repeated text."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from benchmarks._rows import Row, main
from pipelines.engine.jobs import RenderJob
from pipelines.recipe import load
from render.plan import Block, Language
from render.text.scripts import ASCII, HAN
from render.type.fonts import Fonts

SAMPLES, QUICK_SAMPLES = 2000, 200

LARGEST_SHARE = 30
"""Most that one design of type may have of the Chinese lines, %."""

LEAST_TIMES = 20
"""How often each common character is to occur."""

SHINGLE = 16
"""Characters of body text that are looked up as one."""

LEAST_DISTINCT = 60
"""Least share of shingles that are to differ, %."""


class Contents:
    """Counts over the blocks of pages; `written` is "en" or "zh", mixed lines being Chinese."""

    def __init__(self, fonts: Fonts) -> None:
        self._fonts = fonts
        self.designs = Counter[str]()
        self.characters = Counter[str]()
        self.sizes = defaultdict[str, Counter[int]](Counter)
        self.shingles = defaultdict[str, Counter[str]](Counter)

    def count(self, block: Block) -> None:
        """Count one block."""
        written = _written(block.language)
        for line in block.lines:
            self.characters.update(line.text)
            self.sizes[written][block.size_px] += len(line.text)
            if written == "zh":
                self.designs[self._fonts.faces[block.fonts[0].face].design] += 1
            if block.role == "body":
                text = line.text
                starts = range(len(text) - SHINGLE + 1)
                self.shingles[written].update(text[at : at + SHINGLE] for at in starts)

    def rows(self) -> Iterator[Row]:
        """Yield every figure."""
        total = self.designs.total()
        for number, (design, lines) in enumerate(self.designs.most_common()):
            target = None if number else LARGEST_SHARE
            yield Row(
                f"Chinese lines in {design}", 100 * lines / total, "%", target, better="lower"
            )
        for name, codes in (("printable ASCII", ASCII), ("GB2312 level 1", HAN)):
            counts = [self.characters[chr(code)] for code in codes]
            rare = sum(count < LEAST_TIMES for count in counts)
            yield Row(f"{name}: rarest character", min(counts), "times", LEAST_TIMES)
            yield Row(f"{name}: below {LEAST_TIMES} times", rare, "characters", 0, better="lower")
        for written, sizes in sorted(self.sizes.items()):
            shares = {size: 100 * n / sizes.total() for size, n in sizes.items()}
            yield Row(f"{written}: smallest size", min(sizes), "px")
            yield Row(f"{written}: rarest size of characters", min(shares.values()), "%")
            yield Row(
                f"{written}: commonest size of characters",
                max(shares.values()),
                "%",
                better="lower",
            )
        for written, shingles in sorted(self.shingles.items()):
            share = 100 * len(shingles) / shingles.total()
            yield Row(
                f"{written}: distinct among {SHINGLE}-character shingles",
                share,
                "%",
                LEAST_DISTINCT,
            )


def _written(language: Language) -> str:
    return "en" if language == "en" else "zh"


def measure(quick: bool) -> list[Row]:
    """What 2,000 pages of `render_pages` hold."""
    renderer = load(RenderJob, "render_pages", []).renderer
    contents = Contents(renderer.material.fonts)
    for index in range(QUICK_SAMPLES if quick else SAMPLES):
        for block in renderer.plan(index).blocks:
            contents.count(block)
    return list(contents.rows())


if __name__ == "__main__":
    main(measure)
