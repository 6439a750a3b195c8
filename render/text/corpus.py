"""Text to draw: English and Chinese prose, Chinese words by frequency, and lines that mix both.

Prose alone repeats some 1,500 Han characters; a share of words drawn from a frequency list with
its peaks flattened brings the rare ones, as they are what a VAE forgets first.

A draw gives arrays and costs microseconds: prose is kept in blocks, and a block's code points and
line ends are worked out when it is first read. What a draw gives depends on its generator and the
corpus alone, never on what was read before.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from render.kernels import SPACE
from render.plan import HAN_VARIANTS, LANGUAGES, HanVariant, Language
from render.text.breaks import Text, breaks, decoded, encoded
from render.text.han import HAN, Traditional, gb2312
from shards import UserError
from shards.embedded import Checksums, package

SCHEME = "2"
"""Part of the digest: raised when the same text and generator give other draws."""

ENDINGS = frozenset({".txt", ".md"})

LARGEST_BYTES = 2**30
"""Most bytes of one file (our choice: it is read whole, and takes several times that in memory)."""

PROSE_SHARE = 0.7
"""Share of prose in embedded text; the rest is frequency words (zh) or Python's manual (en)."""

FLATTEN = 0.5
"""Exponent on the counts of words (our choice: the 1,000th word comes 1/8 as often as the 10th)."""

LONGEST_WORD = 4
"""Characters in the longest word taken from the list; the longer ones are names and sayings."""

MARKS = "，，，、。。；！"
"""What ends a phrase of frequency words: commas most often."""

BLOCK = 512
"""Characters whose line ends are worked out at once (our choice: about two draws)."""

CONTEXT = 32
"""Characters around a block that are seen when its line ends are worked out."""

BLOCKS_KEPT = 16384
"""Blocks of one source whose arrays are kept, about 3 kB each, as many again for their words."""

GAPS = (8, 20)
"""Least and most characters to the place from which on the next English phrase is put."""

PARTICLES = "的了在是和与用对把被从到为以及或将向由给让着过地得就也都不很更最能会可要有这那其于等"
"""What English phrases follow in mixed lines, where there is enough of it."""

SPARSE = 25
"""Characters to a particle from which on phrases are put anywhere (our choice)."""

LATIN = re.compile(r"[A-Za-z]+")
SENTENCE = re.compile(
    r"[.!?。！？…](?:(?<=[.!?])['\"”’)]*\s+(?=[^a-z])"
    r"|(?<=[。！？…])[。！？…]*+[”’』」）》】]*+\s*+(?=[^、，；：]))"
)
WORD = re.compile(r"[{0}]{{1,24}}(?:[-'’][{0}]{{1,24}}){{0,2}}".format("A-Za-zÀ-ÖØ-öø-ɏ"))
MARKUP = re.compile(r"^\s{0,3}(?:#{1,6}|>|[-*+])\s+|[*`_]{1,3}|!?\[([^\]]*)\]\([^)]*\)", re.M)

_MARKS = encoded(MARKS)
_IS_MARK = np.zeros(0x10000, np.bool_)
_IS_MARK[_MARKS] = True
_HAN_KIND = np.zeros(0x10000, np.uint8)
_HAN_KIND[0x4E00:0xA000] = 1
_HAN_KIND[encoded(PARTICLES)] = 2

Span = tuple[NDArray[np.uint32], NDArray[np.bool_]]
"""(codes, ends) as in Text, not cut yet: the last need not be an end."""

T = TypeVar("T")
Shares = Sequence[tuple[float, T]]


class Source(Protocol):
    """Something that yields text."""

    @property
    def characters(self) -> frozenset[int]:
        """Return the code points of all its text."""
        ...

    def draw(self, rng: np.random.Generator, least: int) -> Span:
        """Return at least `least` characters, from the start of a sentence or word."""
        ...


class Prose:
    """Paragraphs that follow each other in a circle, read on from a random sentence."""

    def __init__(self, passages: Sequence[str], joint: str) -> None:
        """Take non-empty paragraphs; `joint` goes between two that follow each other."""
        size = sum(map(len, passages)) + len(joint) * len(passages)
        if size < BLOCK:
            passages = [*passages] * -(-BLOCK // size)
        self._blocks = list(_blocks(passages, joint))
        self._size = sum(map(len, self._blocks))
        self._starts = _starts(passages, len(joint))
        self._convert: Callable[[str], str] | None = None
        self._spans: dict[int, Span] = {}
        self._phrases: dict[int, _Phrases] = {}

    @property
    def text(self) -> str:
        """Return all of it, as it was given."""
        return "".join(self._blocks)

    @property
    def characters(self) -> frozenset[int]:
        """Return the code points of all its text."""
        blocks = map(self._convert, self._blocks) if self._convert else self._blocks
        return frozenset(map(ord, set[str]().union(*blocks)))

    def converted(self, convert: Callable[[str], str]) -> "Prose":
        """Return the same prose, each part of it replaced by a text of the same length."""
        other = copy(self)
        other._convert, other._spans, other._phrases = convert, {}, {}
        return other

    def draw(self, rng: np.random.Generator, least: int) -> Span:
        """Start at any sentence, all equally likely, and go on into the next paragraphs."""
        number, at = divmod(int(self._starts[int(rng.random() * len(self._starts))]), BLOCK)
        codes, ends = self._span(number)
        if at + least <= len(codes):
            return codes[at : at + least], ends[at : at + least]
        parts = [(codes[at:], ends[at:])]
        missing = least - len(parts[0][0])
        while missing > 0:
            number = (number + 1) % len(self._blocks)
            codes, ends = self._span(number)
            parts.append((codes[:missing], ends[:missing]))
            missing -= len(codes)
        return np.concatenate([c for c, _ in parts]), np.concatenate([e for _, e in parts])

    def phrases(self, rng: np.random.Generator) -> "_Phrases":
        """Return the words of a random block, or of the first after it that has any."""
        number = int(rng.random() * len(self._blocks))
        phrases = self._words_of(number)
        for step in range(1, len(self._blocks)):
            if phrases.firsts:
                break
            phrases = self._words_of((number + step) % len(self._blocks))
        return phrases

    def _words_of(self, number: int) -> "_Phrases":
        phrases = self._phrases.get(number)
        if phrases is None:
            # A word that began before the block touches the first character, and is left out.
            limit = 1 + len(self._blocks[number])
            text = self._read(number * BLOCK - 1, limit + 4 * CONTEXT)
            phrases = _Phrases.of(text, limit)
            _keep(self._phrases, number, phrases)
        return phrases

    def _span(self, number: int) -> Span:
        span = self._spans.get(number)
        if span is None:
            size = len(self._blocks[number])
            text = self._read(number * BLOCK - CONTEXT, size + 2 * CONTEXT)
            if self._convert is not None:
                text = self._convert(text)
            inside = slice(CONTEXT, CONTEXT + size)
            span = encoded(text[inside]), breaks(text)[inside].copy()
            _keep(self._spans, number, span)
        return span

    def _read(self, start: int, size: int) -> str:
        number, at = divmod(start % self._size, BLOCK)
        text = self._blocks[number][at:]
        while len(text) < size:
            number = (number + 1) % len(self._blocks)
            text += self._blocks[number]
        return text[:size]


@dataclass(frozen=True, slots=True)
class _Phrases:
    """The words of a part of prose: places in `codes`, and the last word of the run each is in.

    A run is words with single spaces between. The first `firsts` words may begin a phrase; a
    place is left free on both sides of every word.
    """

    codes: NDArray[np.uint32]
    ends: NDArray[np.bool_]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    lasts: NDArray[np.int64]
    firsts: int

    @classmethod
    def of(cls, text: str, limit: int) -> "_Phrases":
        """Find the words; those from `limit` on may only go on with a phrase."""
        spans = [m.span() for m in WORD.finditer(text) if m.start() and m.end() < len(text)]
        starts, stops = np.array(spans, np.int64).reshape(-1, 2).T.copy()
        codes = encoded(text)
        broken = (starts[1:] != stops[:-1] + 1) | (codes[stops[:-1]] != SPACE)
        ends_of_runs = np.flatnonzero(np.append(broken, True))
        lasts = ends_of_runs[np.searchsorted(ends_of_runs, np.arange(len(starts)))]
        firsts = int(np.searchsorted(starts, limit))
        return cls(codes, breaks(text), starts, stops, lasts, firsts)

    def choose(
        self, rng: np.random.Generator, number: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw phrases of one to four words: (first, last) words of each."""
        ways = rng.random((2, number))
        first = (ways[0] * self.firsts).astype(np.int64)
        last = first + (ways[1] * 4).astype(np.int64)
        return first, np.minimum(last, self.lasts[first])


class Words:
    """Chinese words by flattened frequency, in phrases of two to six with punctuation."""

    def __init__(self, words: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
        """Take words of Han with their counts (n,), at least 1.

        They are (n, LONGEST_WORD + 1), 0 after the end of each: the last place is for a mark.
        """
        order = np.argsort(-counts, kind="stable")
        self._words = words[order]
        self._convert: Callable[[str], str] | None = None
        # Words that occur equally often form a class: a number in the cumulative weights finds
        # its class by bisection and its word by division, in tables that fit the cache.
        counts = counts[order]
        self._firsts = np.flatnonzero(np.append(True, counts[1:] != counts[:-1]))
        self._weights = counts[self._firsts] ** FLATTEN
        self._sizes = np.diff(np.append(self._firsts, len(counts)))
        self._cumulative = np.cumsum(self._weights * self._sizes)

    @property
    def words(self) -> list[str]:
        """Return the words, the most frequent first."""
        return _spaced(self._table()).split()

    @property
    def characters(self) -> frozenset[int]:
        """Return the code points of all words and of the marks between them."""
        return frozenset(np.unique(self._table()).tolist()) - {0} | set(_MARKS.tolist())

    def converted(self, convert: Callable[[str], str]) -> "Words":
        """Return the words replaced by others of the same length, at the same frequency."""
        other = copy(self)
        other._convert = convert
        return other

    def draw(self, rng: np.random.Generator, least: int) -> Span:
        """Return phrases; a line may end after any character that no mark follows."""
        codes = self._phrases(rng, least)
        while len(codes) < least:
            codes = np.append(codes, self._phrases(rng, least - len(codes)))
        ends = np.ones(len(codes), np.bool_)
        np.logical_not(_IS_MARK.take(codes[1:], mode="clip"), out=ends[:-1])
        return codes, ends

    def _table(self) -> NDArray[np.uint32]:
        # Converting them all takes a fifth of a second: only when one is drawn.
        if self._convert is not None:
            changed = encoded(self._convert(_spaced(self._words)))
            words = np.zeros_like(self._words)
            words[self._words > 0] = changed[changed != SPACE]
            self._words, self._convert = words, None
        return self._words

    def _phrases(self, rng: np.random.Generator, least: int) -> NDArray[np.uint32]:
        """Draw about as many phrases as are needed, of ten characters on average."""
        ways = rng.random((2, least // 9 + 2))
        closing = (2 + (ways[0] * 5).astype(np.int64)).cumsum() - 1
        chosen = self._choose(rng.random(int(closing[-1]) + 1))
        rows = self._table().take(chosen, axis=0)
        rows[closing, -1] = _MARKS[(ways[1] * len(_MARKS)).astype(np.int64)]
        return rows[rows > 0]

    def _choose(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        places *= self._cumulative[-1]
        found = self._cumulative.searchsorted(places, side="right")
        # Backwards from the end of the class, which is the end that is known.
        back = ((self._cumulative[found] - places) / self._weights[found]).astype(np.int64)
        last = self._sizes[found] - 1
        return self._firsts[found] + last - np.minimum(back, last)


def _spaced(words: NDArray[np.uint32]) -> str:
    """Return words, as Words takes them, with a space after each."""
    keep = words > 0
    keep[:, 1:] |= keep[:, :-1]
    return decoded(np.where(words, words, np.uint32(SPACE))[keep])


@dataclass(frozen=True, slots=True)
class Mixed:
    """Chinese prose with English phrases of one to four words inside its lines."""

    han: Shares[Prose]
    latin: Shares[Prose]

    @property
    def characters(self) -> frozenset[int]:
        """Return the code points of either tongue."""
        return _characters((*self.han, *self.latin))

    def draw(self, rng: np.random.Generator, least: int) -> Span:
        """Put phrases of one passage between Han, with or without spaces around them."""
        codes, ends = _pick(rng, self.han).draw(rng, least)
        phrases = _pick(rng, self.latin).phrases(rng)
        at = _openings(rng, codes)
        if not len(at) or not phrases.firsts:
            return codes, ends
        first, last = phrases.choose(rng, len(at))
        pad = int(rng.random() < 0.5)

        # Han and phrases by turns; spaces fall on the places left free around the phrases.
        starts = np.zeros(2 * len(at) + 1, np.int64)
        starts[2::2] = at
        starts[1::2] = phrases.starts[first] + (len(codes) - pad)
        lengths = np.empty_like(starts)
        lengths[0], lengths[2:-1:2], lengths[-1] = at[0], at[1:] - at[:-1], len(codes) - at[-1]
        lengths[1::2] = phrases.stops[last] - phrases.starts[first] + 2 * pad
        stops = lengths.cumsum()
        places = (starts - stops + lengths).repeat(lengths)
        places += np.arange(len(places))
        codes = np.concatenate((codes, phrases.codes)).take(places)
        ends = np.concatenate((ends, phrases.ends)).take(places)
        opening, closing = stops[:-1:2], stops[1::2] - 1
        ends[closing] = True
        if pad:
            codes[opening] = codes[closing] = SPACE
            ends[opening - 1] = ends[closing - 1] = False
            ends[opening] = True
        return codes, ends


def _openings(rng: np.random.Generator, codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Choose places between Han before which phrases go, at least one where there is any.

    Most follow a particle, as a cut through a word is rare in writing; text without particles,
    such as classical prose, is opened anywhere.
    """
    kinds = _HAN_KIND.take(codes, mode="clip")
    nexts = kinds[1:] > 0
    after = (nexts & (kinds[:-1] > 1)).nonzero()[0]
    if len(after) * SPARSE < len(codes):
        after = (nexts & (kinds[:-1] > 0)).nonzero()[0]
    if not len(after):
        return after
    low, high = GAPS
    ways = rng.random(len(codes) // low + 2)
    ways *= high - low + 1
    gaps = ways.astype(np.int64) + low
    gaps[0] -= low
    wanted = gaps.cumsum()
    found = after.searchsorted(wanted[: wanted.searchsorted(after[-1], side="right")])
    if not len(found):
        return after[:1] + 1
    fresh = np.ones(len(found), np.bool_)
    np.not_equal(found[1:], found[:-1], out=fresh[1:])
    return after[found[fresh]] + 1


@dataclass(frozen=True)
class Corpus:
    """Sources with their shares, and a digest of all text.

    `sources` are kept by language, those of zh-hant by its standards.
    """

    sources: dict[Language | HanVariant, Shares[Source]]
    name: str
    found: str
    digest: str

    @classmethod
    def embedded(
        cls,
        drawable: Collection[int],
        languages: Collection[Language] = LANGUAGES,
        cache: Path | None = None,
    ) -> "Corpus":
        """Take our own prose, the manual inside Python and jieba's word list.

        `drawable` holds the code points that some font can draw; others are left out. Only what
        `languages` need is read. `cache` as for `Fonts.embedded`.

        Raises:
            UserError: when the word list is not the one we know.
        """
        clean = _Clean(drawable)
        state = _digest(languages)
        english: Shares[Prose] = []
        chinese: Shares[Prose] = []
        words = None
        if {"en", "mixed"} & set(languages):
            manual = [part for topic in _topics() for part in _manual(topic, clean)]
            state.update("\n".join(manual).encode())
            prose = Prose(_paragraphs(_own("en", state), clean)["en"], " ")
            english = [(PROSE_SHARE, prose), (1 - PROSE_SHARE, Prose(manual, " "))]
        if set(languages) - {"en"}:
            prose = Prose(_paragraphs(_own("zh", state), clean)["zh"], "")
            chinese = [(PROSE_SHARE, prose)]
        if {"zh", "zh-hant"} & set(languages):
            words = _jieba(drawable, state, cache)
        sources = _sources(languages, english, chinese, words, drawable)
        return cls(sources, "the embedded text", "", state.hexdigest())

    @classmethod
    def at(
        cls,
        path: Path,
        drawable: Collection[int],
        languages: Collection[Language] = LANGUAGES,
    ) -> "Corpus":
        """Take a text file, or every .txt and .md file below a folder, in UTF-8.

        `drawable` and `languages` as in `embedded`.

        Raises:
            UserError: when there is no such file, or one of them is binary, not UTF-8 or larger
                than LARGEST_BYTES.
        """
        if not path.exists():
            raise UserError(f"corpus: {path} does not exist; give a text file or a folder of them")
        files = [path]
        if path.is_dir():
            files = sorted(
                f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and not f.is_dir()
            )
        if not files:
            raise UserError(f"corpus: {path} holds no .txt or .md file; give a folder that does")
        clean = _Clean(drawable)
        state = _digest(languages)
        passages: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
        for file in files:
            text = _text_of(file)
            state.update(text.encode())
            if file.suffix.lower() == ".md":
                text = MARKUP.sub(lambda match: match.group(1) or "", text)
            for kind, some in _paragraphs(text, clean).items():
                passages[kind] += some
        found = ", ".join(f"{len(some)} {kind}" for kind, some in passages.items())
        english: Shares[Prose] = []
        chinese: Shares[Prose] = []
        if passages["en"] and {"en", "mixed"} & set(languages):
            english = [(1.0, Prose(passages["en"], " "))]
        if passages["zh"] and set(languages) - {"en"}:
            chinese = [(1.0, Prose(passages["zh"], ""))]
        sources = _sources(languages, english, chinese, None, drawable)
        return cls(sources, str(path), f"; paragraphs found: {found}", state.hexdigest())

    def require(self, language: Language) -> None:
        """Check that there is text in `language`, which was among those asked for.

        Raises:
            UserError: naming the path and what it holds.
        """
        if not self._sources(language, HAN_VARIANTS):
            raise UserError(
                f"corpus: {self.name} has no characters for language {language!r} that the fonts "
                f"can draw{self.found}; add text or set the share of {language!r} to 0"
            )

    def characters(
        self, language: Language, variants: Collection[HanVariant] = HAN_VARIANTS
    ) -> frozenset[int]:
        """Return the code points of all text in `language`; none where there is no text.

        Of zh-hant those of the standards `variants`.
        """
        return _characters(self._sources(language, variants))

    def draw(
        self,
        rng: np.random.Generator,
        language: Language,
        characters: int,
        variant: HanVariant | None = None,
    ) -> Text:
        """Return 1 to `characters` characters (at least 1) of text, cut where a line may end.

        It begins with a sentence or word and has no space at either end. A first part without
        any line end that is longer than `characters` is cut there. `variant` is the standard of
        zh-hant, Taiwan's where none is named.
        """
        assert characters >= 1
        source = _pick(rng, self.sources[(variant or "tw") if language == "zh-hant" else language])
        return _cut(*source.draw(rng, characters + 1), characters)

    def _sources(
        self, language: Language, variants: Collection[HanVariant]
    ) -> list[tuple[float, Source]]:
        keys = variants if language == "zh-hant" else (language,)
        return [one for key in keys for one in self.sources.get(key, ())]


def _sources(
    languages: Collection[Language],
    english: Shares[Prose],
    chinese: Shares[Prose],
    words: Words | None,
    drawable: Collection[int],
) -> dict[Language | HanVariant, Shares[Source]]:
    """Put together what each language draws from; a language without text gets no entry."""
    sources: dict[Language | HanVariant, Shares[Source]] = {}
    listed = [(1 - PROSE_SHARE, words)] if words is not None else []
    if english and "en" in languages:
        sources["en"] = english
    if chinese and "zh" in languages:
        sources["zh"] = [*chinese, *listed]
    if chinese and "zh-hant" in languages:
        for variant in HAN_VARIANTS:
            convert = Traditional(variant, drawable)
            sources[variant] = [(share, s.converted(convert)) for share, s in [*chinese, *listed]]
    if english and chinese and "mixed" in languages:
        sources["mixed"] = [(1.0, Mixed(chinese, english))]
    return sources


def _characters(shares: Shares[Source]) -> frozenset[int]:
    return frozenset[int]().union(*(source.characters for _, source in shares))


def _pick(rng: np.random.Generator, shares: Shares[T]) -> T:
    """Draw one by its share."""
    if len(shares) == 1:
        return shares[0][1]
    place = rng.random() * sum(share for share, _ in shares)
    for share, one in shares:
        place -= share
        if place < 0:
            return one
    return shares[-1][1]


def _cut(codes: NDArray[np.uint32], ends: NDArray[np.bool_], characters: int) -> Text:
    """Cut after the last place in reach where a line may end, a space there left out."""
    stop = len(codes)
    if stop > characters:
        reach = characters + int(codes[characters] == SPACE)  # it may hang over
        back = int(ends[:reach][::-1].argmax())
        stop = reach - back if ends[reach - 1 - back] else characters
    stop -= int(codes[stop - 1] == SPACE)
    ends = ends[:stop].copy()
    ends[-1] = True
    return Text(codes[:stop].copy(), ends)


def _keep(kept: dict[int, T], number: int, one: T) -> None:
    """Remember one block more, and forget the oldest when there are too many."""
    if len(kept) >= BLOCKS_KEPT:
        kept.pop(next(iter(kept)))
    kept[number] = one


def _blocks(passages: Iterable[str], joint: str) -> Iterator[str]:
    """Yield the passages, `joint` after each, in parts of BLOCK characters; the last is shorter.

    Parts, as one long string would take four bytes a character for a single rare one.
    """
    rest = ""
    for passage in passages:
        rest += passage + joint
        full = len(rest) - len(rest) % BLOCK
        yield from (rest[at : at + BLOCK] for at in range(0, full, BLOCK))
        rest = rest[full:]
    if rest:
        yield rest


def _starts(passages: Iterable[str], joint: int) -> NDArray[np.int64]:
    """Return where sentences start when the passages stand `joint` characters apart."""
    starts: list[int] = []
    begin = 0
    for passage in passages:
        starts.append(begin)
        starts += [begin + match.end() for match in SENTENCE.finditer(passage)]
        begin += len(passage) + joint
    return np.array(starts, np.int64)


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


def _text_of(file: Path) -> str:
    """Read a user's file, with the line ends of Unix and without a byte order mark."""
    try:
        if not file.is_file():
            raise UserError(f"corpus: {file} is not a file; give a text file")
        size = file.stat().st_size
        if size > LARGEST_BYTES:
            raise UserError(
                f"corpus: {file} has {size:,} bytes, more than {LARGEST_BYTES:,}; split it"
            )
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"corpus: {file} is not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"corpus: {file}: {error.strerror}; make it readable") from error
    if "\0" in text:
        raise UserError(f"corpus: {file} is binary or UTF-16; save it as text in UTF-8")
    return text


def _paragraphs(text: str, clean: _Clean) -> dict[str, list[str]]:
    """Split at empty lines and sort by script: en, zh or other."""
    sorted_out: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
    for raw in re.split(r"\n\s*\n", unicodedata.normalize("NFC", text)):
        if "\n" in raw:
            raw = re.sub(r"(?<=[⺀-￯])\s*\n\s*(?=[⺀-￯])", "", raw)
        paragraph = " ".join(raw.translate(clean).split())
        if paragraph:
            sorted_out[_script(paragraph)].append(paragraph)
    return sorted_out


def _script(paragraph: str) -> str:
    han = sum(map(len, HAN.findall(paragraph)))
    latin = sum(map(len, LATIN.findall(paragraph)))
    if han and han >= 0.3 * (han + latin):
        return "zh"
    # Most of it Latin is most of its letters Latin: the slow count is seldom needed.
    if latin and (latin >= 0.5 * len(paragraph) or latin >= 0.5 * sum(map(str.isalpha, paragraph))):
        return "en"
    return "other"


def _topics() -> list[str]:
    """Return the manual inside Python, topic by topic."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


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


def _jieba(drawable: Collection[int], state: _Hash, cache: Path | None) -> Words | None:
    """Read the word list inside jieba, lines of "word count tag"; None without it.

    Words of Simplified characters only: the list has Traditional ones among them.
    """
    checksums = Checksums(cache)
    paths = package("jieba").paths(checksums)
    if not paths:
        return None
    checksums.save()
    raw = paths[0].read_bytes()
    state.update(raw)
    codes = encoded(raw.decode("utf-8"))
    starts = np.append(0, np.flatnonzero(codes == 0x0A) + 1)
    words = codes.take(starts[:, None] + np.arange(LONGEST_WORD + 1), mode="clip")
    lengths = (words == SPACE).argmax(axis=1)  # 0 for the longer ones
    words[np.arange(LONGEST_WORD + 1) >= lengths[:, None]] = 0
    allowed = np.zeros(0x10000, np.bool_)
    allowed[[0, *(ord(one) for one in gb2312() if ord(one) in drawable)]] = True
    good = (lengths > 0) & allowed.take(words, mode="clip").all(axis=1)
    words, at = words[good], (starts + lengths + 1)[good]
    counts = np.zeros(len(at), np.int64)
    more = np.ones(len(at), np.bool_)
    for place in range(9):
        digits = codes.take(at + place, mode="clip") - np.uint32(0x30)  # a space wraps around
        more &= digits < 10
        counts = np.where(more, 10 * counts + digits, counts)
    return Words(words[counts > 0], counts[counts > 0]) if counts.any() else None
