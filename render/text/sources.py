"""What text is drawn from: prose read on from any sentence, words by frequency, and mixed lines.

A draw gives arrays and costs microseconds: prose is kept in blocks, and a block's code points and
break opportunities are worked out when it is first read. What a draw gives depends on its
generator and the text alone, never on what was read before.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from render.text.breaks import SPACE, break_opportunities, decoded, encoded

FLATTEN = 0.5
"""Exponent on the counts of words (our choice: the 1,000th word comes 1/8 as often as the 10th)."""

MARKS = "，，，、。。；！"
"""What breaks a phrase of frequency words: commas most often."""

BLOCK = 512
"""Characters whose break opportunities are worked out at once (our choice: about two draws)."""

CONTEXT = 32
"""Characters around a block that are seen when its break opportunities are worked out."""

BLOCKS_KEPT = 16384
"""Blocks of one source whose arrays are kept, about 3 kB each, as many again for their words."""

GAPS = (8, 20)
"""Least and most characters to the place from which on the next English phrase is put."""

PARTICLES = "的了在是和与用对把被从到为以及或将向由给让着过地得就也都不很更最能会可要有这那其于等"
"""What English phrases follow in mixed lines, where there is enough of it."""

SPARSE = 25
"""Characters to a particle from which on phrases are put anywhere (our choice)."""

SENTENCE = re.compile(
    r"[.!?。！？…](?:(?<=[.!?])['\"”’)]*\s+(?=[^a-z])"
    r"|(?<=[。！？…])(?<![。！？…]{2})[。！？…]*+[”’』」）》】]*+\s*+(?=[^、，；：]))"
)
WORD = re.compile(r"[{0}]{{1,24}}(?:[-'’][{0}]{{1,24}}){{0,2}}".format("A-Za-zÀ-ÖØ-öø-ɏ"))

_MARKS = encoded(MARKS)
_IS_MARK = np.zeros(0x10000, np.bool_)
_IS_MARK[_MARKS] = True
_HAN_KIND = np.zeros(0x10000, np.uint8)
_HAN_KIND[0x4E00:0xA000] = 1
_HAN_KIND[encoded(PARTICLES)] = 2

Span = tuple[NDArray[np.uint32], NDArray[np.bool_]]
"""(codes, breaks) as in Text, not cut yet: the last need not be a break."""

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
        codes, breaks = self._span(number)
        if at + least <= len(codes):
            return codes[at : at + least], breaks[at : at + least]
        parts = [(codes[at:], breaks[at:])]
        missing = least - len(parts[0][0])
        while missing > 0:
            number = (number + 1) % len(self._blocks)
            codes, breaks = self._span(number)
            parts.append((codes[:missing], breaks[:missing]))
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
            span = encoded(text[inside]), break_opportunities(text)[inside].copy()
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
    breaks: NDArray[np.bool_]
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
        last_of_run = np.flatnonzero(np.append(broken, True))
        lasts = last_of_run[np.searchsorted(last_of_run, np.arange(len(starts)))]
        firsts = int(np.searchsorted(starts, limit))
        return cls(codes, break_opportunities(text), starts, stops, lasts, firsts)

    def choose(
        self, rng: np.random.Generator, number: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw phrases of one to four words: (first, last) words of each."""
        uniform = rng.random((2, number))
        first = (uniform[0] * self.firsts).astype(np.int64)
        last = first + (uniform[1] * 4).astype(np.int64)
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
        breaks = np.ones(len(codes), np.bool_)
        np.logical_not(_IS_MARK.take(codes[1:], mode="clip"), out=breaks[:-1])
        return codes, breaks

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
        uniform = rng.random((2, least // 9 + 2))
        closing = (2 + (uniform[0] * 5).astype(np.int64)).cumsum() - 1
        chosen = self._choose(rng.random(int(closing[-1]) + 1))
        rows = self._table().take(chosen, axis=0)
        rows[closing, -1] = _MARKS[(uniform[1] * len(_MARKS)).astype(np.int64)]
        return rows[rows > 0]

    def _choose(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        places *= self._cumulative[-1]
        classes = self._cumulative.searchsorted(places, side="right")
        # Backwards from the end of the class, which is the end that is known.
        back = ((self._cumulative[classes] - places) / self._weights[classes]).astype(np.int64)
        last = self._sizes[classes] - 1
        return self._firsts[classes] + last - np.minimum(back, last)


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
        return characters_of((*self.han, *self.latin))

    def draw(self, rng: np.random.Generator, least: int) -> Span:
        """Put phrases of one passage between Han, with or without spaces around them."""
        codes, breaks = pick(rng, self.han).draw(rng, least)
        phrases = pick(rng, self.latin).phrases(rng)
        at = _openings(rng, codes)
        if not len(at) or not phrases.firsts:
            return codes, breaks
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
        breaks = np.concatenate((breaks, phrases.breaks)).take(places)
        opening, closing = stops[:-1:2], stops[1::2] - 1
        breaks[closing] = True
        if pad:
            codes[opening] = codes[closing] = SPACE
            breaks[opening - 1] = breaks[closing - 1] = False
            breaks[opening] = True
        return codes, breaks


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
    uniform = rng.random(len(codes) // low + 2)
    uniform *= high - low + 1
    gaps = uniform.astype(np.int64) + low
    gaps[0] -= low
    wanted = gaps.cumsum()
    chosen = after.searchsorted(wanted[: wanted.searchsorted(after[-1], side="right")])
    if not len(chosen):
        return after[:1] + 1
    fresh = np.ones(len(chosen), np.bool_)
    np.not_equal(chosen[1:], chosen[:-1], out=fresh[1:])
    return after[chosen[fresh]] + 1


def characters_of(shares: Shares[Source]) -> frozenset[int]:
    """Return the code points of all text of the sources."""
    return frozenset[int]().union(*(source.characters for _, source in shares))


def pick(rng: np.random.Generator, shares: Shares[T]) -> T:
    """Draw one by its share."""
    if len(shares) == 1:
        return shares[0][1]
    place = rng.random() * sum(share for share, _ in shares)
    for share, drawn in shares:
        place -= share
        if place < 0:
            return drawn
    return shares[-1][1]


def _keep(blocks: dict[int, T], number: int, block: T) -> None:
    """Remember one block more, and forget the oldest when there are too many."""
    if len(blocks) >= BLOCKS_KEPT:
        blocks.pop(next(iter(blocks)))
    blocks[number] = block


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
