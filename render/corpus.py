"""Text to draw: natural prose in English and Chinese, and Chinese words by frequency.

Prose alone repeats some 1,500 Han characters; a share of words drawn from a frequency list with
its peaks flattened brings the rare ones, as they are what a VAE forgets first.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from render.breaks import breaks
from render.plan import Language
from shards import UserError

ENDINGS = frozenset({".txt", ".md"})

PROSE_SHARE = 0.7
"""Share of prose in embedded text; the rest is frequency words (zh) or Python's manual (en)."""

FLATTEN = 0.5
"""Exponent on the counts of words (our choice: the 1,000th word comes 1/8 as often as the 10th)."""

HAN = re.compile(r"[㐀-鿿]")
LATIN = re.compile(r"[A-Za-z]")
SENTENCE = re.compile(r"(?:[.!?]['\"”’)]*\s+(?=[^a-z])|[。！？…][”’』」）]*)(?=\S)")
MARKUP = re.compile(r"^\s{0,3}(?:#{1,6}|>|[-*+])\s+|[*`_]{1,3}|!?\[([^\]]*)\]\([^)]*\)", re.M)


class Source(Protocol):
    """Something that yields text."""

    def draw(self, rng: np.random.Generator, characters: int) -> str:
        """Return at least `characters` characters, from the start of a sentence or word."""
        ...


class Passages:
    """Paragraphs of prose, read on from a random sentence."""

    def __init__(self, passages: Sequence[str], joint: str) -> None:
        """Take non-empty paragraphs; `joint` goes between two that follow each other."""
        self.passages = passages
        self.joint = joint
        starts = [[0, *(m.end() for m in SENTENCE.finditer(text))] for text in passages]
        self._starts = [(i, start) for i, some in enumerate(starts) for start in some]

    def draw(self, rng: np.random.Generator, characters: int) -> str:
        """Start at any sentence, all equally likely, and go on into the next paragraphs."""
        i, start = self._starts[rng.integers(len(self._starts))]
        text = self.passages[i][start:]
        while len(text) < characters:
            i = (i + 1) % len(self.passages)
            text += self.joint + self.passages[i]
        return text


class Words:
    """Chinese words by flattened frequency, in phrases with punctuation."""

    def __init__(self, words: Sequence[str], counts: NDArray[np.float64]) -> None:
        """Take words with how often each occurs."""
        self.words = words
        self._cumulative = np.cumsum(counts**FLATTEN)

    def draw(self, rng: np.random.Generator, characters: int) -> str:
        """Return phrases of two to six words."""
        pieces: list[str] = []
        total = 0
        while total < characters:
            places = rng.random(int(rng.integers(2, 7))) * self._cumulative[-1]
            chosen = np.searchsorted(self._cumulative, places, side="right")
            phrase = "".join(self.words[int(i)] for i in chosen)
            pieces.append(phrase + "，，，、。。；！"[rng.integers(8)])
            total += len(pieces[-1])
        return "".join(pieces)


@dataclass(frozen=True)
class Corpus:
    """Sources by language with their shares, and a digest of all text."""

    sources: dict[Language, list[tuple[float, Source]]]
    name: str
    found: str
    digest: str

    @classmethod
    def embedded(cls, drawable: Collection[int]) -> "Corpus":
        """Take our own prose, the manual inside Python and jieba's word list.

        `drawable` holds the code points that some font can draw; others are left out.
        """
        from pydoc_data.topics import topics

        clean = _Clean(drawable)
        prose = Path(__file__).parent / "prose"
        texts = {
            language: (prose / f"{language}.txt").read_text("utf-8") for language in ("en", "zh")
        }
        manual = [part for topic in sorted(topics) for part in _manual(topics[topic], clean)]
        words, counts, size = _jieba(drawable)
        state = hashlib.sha256("\n".join([*texts.values(), *manual, str(size)]).encode())
        sources: dict[Language, list[tuple[float, Source]]] = {
            "en": [
                (PROSE_SHARE, Passages(_paragraphs(texts["en"], clean)["en"], " ")),
                (1 - PROSE_SHARE, Passages(manual, " ")),
            ],
            "zh": [(PROSE_SHARE, Passages(_paragraphs(texts["zh"], clean)["zh"], ""))],
        }
        if words:
            sources["zh"].append((1 - PROSE_SHARE, Words(words, counts)))
        return cls(sources, "the embedded text", "", state.hexdigest())

    @classmethod
    def at(cls, path: Path, drawable: Collection[int]) -> "Corpus":
        """Take a text file, or every .txt and .md file below a folder, in UTF-8.

        Raises:
            UserError: when there is no such file or one of them is not UTF-8.
        """
        if not path.exists():
            raise UserError(f"corpus: {path} does not exist; give a text file or a folder of them")
        files = [path]
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS)
        if not files:
            raise UserError(f"corpus: {path} holds no .txt or .md file; give a folder that does")
        clean = _Clean(drawable)
        state = hashlib.sha256()
        passages: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
        for file in files:
            try:
                text = file.read_text("utf-8-sig")
            except UnicodeDecodeError as error:
                raise UserError(f"corpus: {file} is not UTF-8; save it as UTF-8") from error
            except OSError as error:
                raise UserError(f"corpus: {file}: {error.strerror}; make it readable") from error
            state.update(text.encode())
            if file.suffix.lower() == ".md":
                text = MARKUP.sub(lambda match: match.group(1) or "", text)
            for language, some in _paragraphs(text, clean).items():
                passages[language] += some
        sources: dict[Language, list[tuple[float, Source]]] = {
            language: [(1.0, Passages(passages[language], " " if language == "en" else ""))]
            for language in get_args(Language)
            if passages[language]
        }
        found = ", ".join(f"{len(some)} {language}" for language, some in passages.items())
        return cls(sources, str(path), f"; paragraphs found: {found}", state.hexdigest())

    def require(self, language: Language) -> None:
        """Check that there is text in `language`.

        Raises:
            UserError: naming the path and what it holds.
        """
        if language not in self.sources:
            raise UserError(
                f"corpus: {self.name} has no characters for language {language!r} that the fonts "
                f"can draw{self.found}; add text or set the share of {language!r} to 0"
            )

    def draw(self, rng: np.random.Generator, language: Language, characters: int) -> str:
        """Return at most `characters` characters (at least 1) of text, cut where a line may end."""
        sources = self.sources[language]
        shares = list(accumulate(share for share, _ in sources))
        place = rng.random() * shares[-1]
        source = next(s for (_, s), end in zip(sources, shares, strict=True) if place < end)
        text = source.draw(rng, characters)
        if len(text) <= characters:
            return text.strip()
        # The last place to break depends on its surroundings only: look at the tail.
        tail = max(0, characters - 40)
        ends = [tail + end for end in breaks(text[tail : characters + 10])]
        ends = [end for end in ends if len(text[:end].rstrip()) <= characters]
        return text[: ends[-1] if ends else characters].strip() or text[:characters].strip()


class _Clean(dict[int, str | None]):
    """A table for str.translate: what cannot be drawn one character at a time goes.

    That is combining marks, controls, right-to-left scripts and whatever no font maps; every
    space becomes U+0020.
    """

    def __init__(self, drawable: Collection[int]) -> None:
        super().__init__({0x0A: " ", 0x0D: " ", 0x09: " "})
        self._drawable = drawable

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        kind = unicodedata.category(character)
        kept: str | None = character
        if kind == "Zs":
            kept = " "
        elif (
            code not in self._drawable
            or kind[0] in "CMZ"
            or unicodedata.bidirectional(character) in ("R", "AL")
        ):
            kept = None
        self[code] = kept
        return kept


def _paragraphs(text: str, clean: _Clean) -> dict[str, list[str]]:
    """Split at empty lines and sort by script: en, zh or other."""
    sorted_out: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    for raw in re.split(r"\n\s*\n", text):
        joined = re.sub(r"(?<=[⺀-￯])\s*\n\s*(?=[⺀-￯])", "", raw)
        paragraph = " ".join(joined.translate(clean).split())
        if not paragraph:
            continue
        han, latin = len(HAN.findall(paragraph)), len(LATIN.findall(paragraph))
        letters = sum(character.isalpha() for character in paragraph)
        if han and han >= 0.3 * (han + latin):
            sorted_out["zh"].append(paragraph)
        elif latin and latin >= 0.5 * letters:
            sorted_out["en"].append(paragraph)
        else:
            sorted_out["other"].append(paragraph)
    return sorted_out


def _manual(topic: str, clean: _Clean) -> list[str]:
    """Return the prose paragraphs of one topic of Python's manual: no code, tables or headings."""
    prose: list[str] = []
    for raw in re.split(r"\n\s*\n", topic):
        lines = raw.splitlines()
        if any(re.match(r"\s{4}|\s*[+|=>~^\-*]{2}|\s*\*\*", line) for line in lines):
            continue
        paragraph = " ".join(
            re.sub(r"\[[^\]]*\]|[*`_\"]{1,2}|::", "", raw).translate(clean).split()
        )
        letters = len(re.findall(r"[A-Za-z ,.]", paragraph))
        if len(paragraph) >= 120 and letters >= 0.95 * len(paragraph) and "  " not in paragraph:
            prose.append(paragraph)
    return prose


def _jieba(drawable: Collection[int]) -> tuple[Sequence[str], NDArray[np.float64], int]:
    """Read the word list inside jieba: (words, counts, bytes of the file), empty without it."""
    spec = find_spec("jieba")
    if spec is None or not spec.submodule_search_locations:
        return [], np.zeros(0), 0
    path = Path(spec.submodule_search_locations[0]) / "dict.txt"
    text = path.read_text("utf-8")
    lacking = {ord(one): "!" for one in set(text) if one > "~" and ord(one) not in drawable}
    if lacking:
        text = text.translate(lacking)
    # Two passes without groups: a third of a million pairs would cost half a second.
    words = re.findall(r"^[一-鿿]{1,4}(?= \d)", text, re.M)
    counts = re.findall(
        r"(?<=[一-鿿] )\d+(?= )", re.sub(r"^(?![一-鿿]{1,4} \d).*", "", text, flags=re.M)
    )
    return words, np.fromstring(" ".join(counts), np.float64, sep=" "), path.stat().st_size
