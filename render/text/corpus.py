"""Text to draw: English and Chinese prose, Chinese words by frequency, and lines that mix both.

Prose alone repeats some 1,500 Han characters; a share of words drawn from a frequency list with
its peaks flattened brings the rare ones, as they are what a VAE forgets first.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from render.plan import HAN_VARIANTS, LANGUAGES, HanVariant, Language
from render.text.breaks import SPACE, Text
from render.text.characters import rare_han, signs
from render.text.han import Traditional, word_counts, word_list
from render.text.paragraphs import (
    Clean,
    paragraphs,
    python_manual,
    read,
    text_files,
    without_markup,
)
from render.text.sources import Mixed, Prose, Shares, Source, Words, characters_of, pick
from shards import Unreadable, UserError
from shards.skipped import readable

T = TypeVar("T")

SCHEME = "3"
"""Part of the digest: raised when the same text and generator give other draws."""

NO_CHARACTERS: Mapping[str, float] = MappingProxyType({})

PROSE_SHARE = 0.7
"""Share of prose in embedded text; the rest is frequency words (zh) or Python's manual (en)."""


@dataclass(frozen=True)
class Corpus:
    """What each language draws from.

    `sources` come with their shares, by language, those of zh-hant by its standards. `name` and
    `held` say in errors where the text is from and what was found there; `digest` stands for all
    of it. `skipped` says why files were left out, `undrawn` counts the characters that were.
    """

    sources: dict[Language | HanVariant, Shares[Source]]
    name: str
    held: str
    digest: str
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    undrawn: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def embedded(
        cls,
        drawable: Collection[int],
        languages: Collection[Language] = LANGUAGES,
        cache: Path | None = None,
        characters: Mapping[str, float] = NO_CHARACTERS,
    ) -> "Corpus":
        """Take our own prose, the manual inside Python and jieba's word list.

        `drawable` holds the code points that some font can draw; others are left out. Only what
        `languages` need is read. `cache` as for `Fonts.embedded`. Of each language a share of
        the draws, `characters`, is of those in `characters.py`.

        Raises:
            UserError: when the word list is not the one we know.
        """
        clean = Clean(drawable)
        state = _digest(languages)
        english: Shares[Prose] = []
        chinese: Shares[Prose] = []
        words = None
        if {"en", "mixed"} & set(languages):
            manual = python_manual(clean)
            state.update("\n".join(manual).encode())
            prose = Prose(paragraphs(_own("en", state), clean)["en"], " ")
            english = [(PROSE_SHARE, prose), (1 - PROSE_SHARE, Prose(manual, " "))]
        if set(languages) - {"en"}:
            prose = Prose(paragraphs(_own("zh", state), clean)["zh"], "")
            chinese = [(PROSE_SHARE, prose)]
        if {"zh", "zh-hant"} & set(languages):
            words = _listed(drawable, state, cache)
        sources = _sources(languages, english, chinese, words, drawable, characters)
        return cls(sources, "the embedded text", "", state.hexdigest(), undrawn=clean.undrawn)

    @classmethod
    def at(
        cls,
        path: Path,
        drawable: Collection[int],
        languages: Collection[Language] = LANGUAGES,
        characters: Mapping[str, float] = NO_CHARACTERS,
    ) -> "Corpus":
        """Take a text file, or every .txt and .md file below a folder, in UTF-8.

        `drawable`, `languages` and `characters` as in `embedded`. What `paragraphs.read` refuses
        is left out.

        Raises:
            UserError: when there is no such file, or none that can be read.
        """
        place = readable(str(path))
        if not path.exists():
            raise UserError(f"corpus: {place} does not exist; give a text file or a folder of them")
        beside: dict[str, str] = {}
        files = text_files(path, beside)
        if not files:
            raise UserError(f"corpus: {place} holds no .txt or .md file; give a folder that does")
        clean = Clean(drawable)
        state = _digest(languages)
        passages: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
        skipped: dict[str, str] = {}
        for file in files:
            try:
                text = read(file)
            except Unreadable as error:
                skipped[error.name] = error.reason
                continue
            state.update(text.encode())
            if file.suffix.lower() == ".md":
                text = without_markup(text)
            for script, passages_of_file in paragraphs(text, clean).items():
                passages[script] += passages_of_file
        if len(skipped) == len(files):
            reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
            raise UserError(f"corpus: no text can be read ({reasons})")
        held = ", ".join(f"{len(listed)} {script}" for script, listed in passages.items())
        english: Shares[Prose] = []
        chinese: Shares[Prose] = []
        if passages["en"] and {"en", "mixed"} & set(languages):
            english = [(1.0, Prose(passages["en"], " "))]
        if passages["zh"] and set(languages) - {"en"}:
            chinese = [(1.0, Prose(passages["zh"], ""))]
        sources = _sources(languages, english, chinese, None, drawable, characters)
        held = f"; paragraphs found: {held}"
        return cls(sources, place, held, state.hexdigest(), beside | skipped, clean.undrawn)

    def require(self, language: Language) -> None:
        """Check that there is text in `language`, which was among those asked for.

        Raises:
            UserError: naming the path and what it holds.
        """
        if not self._sources(language, HAN_VARIANTS):
            raise UserError(
                f"corpus: {self.name} has no characters for language {language!r} that the fonts "
                f"can draw{self.held}; add text or set the share of {language!r} to 0"
            )

    def characters(
        self, language: Language, variants: Collection[HanVariant] = HAN_VARIANTS
    ) -> frozenset[int]:
        """Return the code points of all text in `language`; none where there is no text.

        Of zh-hant those of the standards `variants`.
        """
        return characters_of(self._sources(language, variants))

    def draw(
        self,
        rng: np.random.Generator,
        language: Language,
        characters: int,
        variant: HanVariant | None = None,
    ) -> Text:
        """Return 1 to `characters` characters (at least 1) of text, cut where a line may break.

        It begins with a sentence or word and has no space at either end. A first part without
        any break that is longer than `characters` is cut there. `variant` is the standard of
        zh-hant, Taiwan's where none is named.
        """
        assert characters >= 1
        source = pick(rng, self.sources[(variant or "tw") if language == "zh-hant" else language])
        return _cut(*source.draw(rng, characters + 1), characters)

    def _sources(
        self, language: Language, variants: Collection[HanVariant]
    ) -> list[tuple[float, Source]]:
        keys = variants if language == "zh-hant" else (language,)
        return [source for key in keys for source in self.sources.get(key, ())]


def _sources(
    languages: Collection[Language],
    english: Shares[Prose],
    chinese: Shares[Prose],
    words: Words | None,
    drawable: Collection[int],
    characters: Mapping[str, float],
) -> dict[Language | HanVariant, Shares[Source]]:
    """Put together what each language draws from; a language without text gets no entry."""
    sources: dict[Language | HanVariant, Shares[Source]] = {}
    listed = [(1 - PROSE_SHARE, words)] if words is not None else []
    written: Shares[Prose | Words] = [*chinese, *listed]
    if english and "en" in languages:
        sources["en"] = _with(signs(drawable), english, characters.get("en", 0))
    rare = rare_han(drawable, [prose.text for _, prose in chinese]) if characters else None
    if chinese and "zh" in languages:
        sources["zh"] = _with(rare, written, characters.get("zh", 0))
    if chinese and "zh-hant" in languages:
        for variant in HAN_VARIANTS:
            convert = Traditional(variant, drawable)
            hant = _with(rare, written, characters.get("zh-hant", 0))
            sources[variant] = [(share, s.converted(convert)) for share, s in hant]
    if english and chinese and "mixed" in languages:
        sources["mixed"] = [(1.0, Mixed(chinese, english))]
    return sources


def _with(added: T | None, sources: Shares[T], share: float) -> Shares[T]:
    """Add a source that takes `share` of the draws of all."""
    if share == 0 or added is None:
        return sources
    total = sum(own for own, _ in sources)
    return [*((own * (1 - share) / total, source) for own, source in sources), (share, added)]


def _listed(drawable: Collection[int], state: "_Hash", cache: Path | None) -> Words | None:
    """Read the word list into the digest; None without it."""
    raw = word_list(cache)
    if raw is None:
        return None
    state.update(raw)
    words, counts = word_counts(raw, drawable)
    return Words(words, counts) if len(counts) else None


def _cut(codes: NDArray[np.uint32], breaks: NDArray[np.bool_], characters: int) -> Text:
    """Cut at the last break in reach, a space there left out."""
    stop = len(codes)
    if stop > characters:
        reach = characters + int(codes[characters] == SPACE)  # it may hang over
        back = int(breaks[:reach][::-1].argmax())
        stop = reach - back if breaks[reach - 1 - back] else characters
    stop -= int(codes[stop - 1] == SPACE)
    breaks = breaks[:stop].copy()
    breaks[-1] = True
    return Text(codes[:stop].copy(), breaks, "corpus")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _digest(languages: Collection[Language]) -> _Hash:
    """Start a digest with what shapes draws besides the text."""
    state = hashlib.sha256(SCHEME.encode())
    if "zh-hant" in languages:
        from importlib.metadata import version

        state.update(f"{HAN_VARIANTS} {version('opencc')}".encode())
    return state


def _own(name: str, state: _Hash) -> str:
    """Read a file of our own prose into the digest."""
    text = (Path(__file__).parent / "prose" / f"{name}.txt").read_text("utf-8")
    state.update(text.encode())
    return text
