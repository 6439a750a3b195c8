"""Short texts that documents are made of: dates, amounts, names, labels, questions, headlines.

Prose lacks them, and layouts such as forms, receipts and tables hold little else. They are lists
of templates in `prose/facts.toml`, which says how a slot is written; a new kind is a list there.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from render.plan import HanVariant
from render.text.han import from_simplified

LANGUAGES = ("en", "zh", "zh-hant")
"""Languages of facts; zh-hant is zh converted, so no list is written for it."""

QUOTES = str.maketrans("“”‘’", "「」『』")
"""Traditional Chinese quotes with corner brackets."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SLOT = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
PATTERN = re.compile(r"[#@]+")

Uniform = Callable[[], float]
"""`Generator.random`: ten times faster a call than `integers` or `choice`."""

Slot = Callable[[Uniform], str]
"""What fills a slot."""

Entry = str | tuple[str | Slot, ...]
"""Text, or a template: text and slots in turn."""


class Facts:
    """Short texts by kind and language."""

    def __init__(self, text: str) -> None:
        """Take lists in the format of `prose/facts.toml`."""
        self._lists: dict[str, dict[str, dict[str, list[str]]]] = tomllib.loads(text)
        self._compiled: dict[str, Mapping[str, Slot]] = {}
        self.kinds = tuple(sorted(self._lists["kind"]))
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def embedded(cls) -> "Facts":
        """Take our own lists, read once."""
        return _embedded()

    def draw(
        self,
        rng: np.random.Generator,
        kind: str,
        language: str,
        variant: HanVariant | None = None,
    ) -> str:
        """Return one line of text without spaces around it.

        `variant` is the standard of zh-hant, Taiwan's where none is named.

        Raises:
            ValueError: naming the kinds or languages that there are.
        """
        key = (variant or "tw") if language == "zh-hant" else language
        slots = self._compiled.get(key)
        if slots is None:
            slots = self._compiled[key] = self._compile(language, variant or "tw")
        slot = slots.get(kind)
        if slot is None:
            raise ValueError(f"no facts of kind {kind!r}; there are {', '.join(self.kinds)}")
        return slot(rng.random)

    def _compile(self, language: str, variant: HanVariant) -> Mapping[str, Slot]:
        """Parse the templates of one language; return its kinds."""
        if language not in LANGUAGES:
            raise ValueError(f"no facts in language {language!r}; there are {', '.join(LANGUAGES)}")
        written = "zh" if language == "zh-hant" else language
        texts = {
            name: lists[written]
            for table in self._lists.values()
            for name, lists in table.items()
            if written in lists
        }
        if language == "zh-hant":
            texts = _traditional(texts, variant)
        choices = {name: _Choice() for name in texts}
        for name, choice in choices.items():
            choice.entries = [_entry(text, choices) for text in texts[name]]
        return {kind: choices[kind] for kind in self.kinds}


class _Choice:
    """One of `entries`, all equally likely, with its slots filled."""

    __slots__ = ("entries",)

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries = entries

    def __call__(self, uniform: Uniform) -> str:
        entry = self.entries[int(uniform() * len(self.entries))]
        if isinstance(entry, str):
            return entry
        return "".join([part if isinstance(part, str) else part(uniform) for part in entry])


def _entry(text: str, choices: Mapping[str, _Choice]) -> Entry:
    """Parse one template. `choices` may still be empty: they are looked into when drawing."""
    pieces = SLOT.split(text)
    if len(pieces) == 1:
        return text
    # The pattern has one group, so that every second piece is the inside of a slot.
    parts = [_slot(piece, text, choices) if i % 2 else piece for i, piece in enumerate(pieces)]
    return tuple(part for part in parts if part != "")


def _slot(inside: str, text: str, choices: Mapping[str, _Choice]) -> Slot:
    """Parse the inside of the braces in `text`."""
    if "|" in inside:
        return _Choice(inside.split("|"))
    if choice := choices.get(inside):
        return choice
    if inside[:1].isupper() and (lower := choices.get(inside[0].lower() + inside[1:])):
        return lambda uniform: _capitalised(lower(uniform))
    if match := RANGE.fullmatch(inside):
        width = len(match[1]) if match[1].startswith("0") else 1
        return _whole(int(match[1]), int(match[2]), width)
    if PATTERN.fullmatch(inside):
        return _pattern(inside)
    raise ValueError(f"unknown slot {{{inside}}} in {text!r}; name a list or see facts.toml")


def _whole(low: int, high: int, width: int) -> Slot:
    """Draw a whole number from `low` to `high`, padded with zeros to `width` digits."""
    count = high - low + 1
    return lambda uniform: str(low + int(uniform() * count)).zfill(width)


def _pattern(pattern: str) -> Slot:
    """Draw a digit for each # and a capital letter for each @."""
    if "@" not in pattern:
        return _whole(0, 10 ** len(pattern) - 1, len(pattern))
    alphabets = ["0123456789" if sign == "#" else LETTERS for sign in pattern]
    return lambda uniform: "".join([signs[int(uniform() * len(signs))] for signs in alphabets])


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _traditional(texts: Mapping[str, Sequence[str]], variant: HanVariant) -> dict[str, list[str]]:
    """Convert lists from Simplified Chinese; slots are ASCII and stay as they are."""
    convert = from_simplified(variant)
    return {
        name: convert("\n".join(lists)).translate(QUOTES).split("\n")
        for name, lists in texts.items()
    }


@cache
def _embedded() -> Facts:
    return Facts((Path(__file__).parent / "prose" / "facts.toml").read_text("utf-8"))
