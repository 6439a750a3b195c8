"""From files to paragraphs: what can be drawn of them, sorted by script."""

import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import cache
from pathlib import Path

from render.text.han import HAN
from shards import Unreadable
from shards.errors import foreign
from shards.listing import all_below
from shards.skipped import readable
from shards.text import plain_text

ENDINGS = frozenset({".txt", ".md"})

LARGEST_BYTES = 2**30
"""Most bytes of one file (our choice: it is read whole, and takes several times that in memory)."""

LATIN = re.compile(r"[A-Za-z]+")

MARKUP = re.compile(r"^\s{0,3}(?:#{1,6}|>|[-*+])\s+|[*`_]{1,3}|!?\[", re.M)
"""Signs of Markdown that are left out, and what a link may begin with."""

BETWEEN_HAN = re.compile(r"(?<=[⺀-￯])(?<!\s)[^\S\n]*+\n\s*+(?=[⺀-￯])")
"""The end of a line that leaves no space. It begins at a letter, so that blanks are read once."""


class Clean(dict[int, str | None]):
    """A table for str.translate: what cannot be drawn one character at a time goes.

    That is combining marks, controls, right-to-left scripts and whatever no font maps; every
    space becomes U+0020. `undrawn` counts what `count` met of it, controls apart.
    """

    def __init__(self, drawable: Collection[int]) -> None:
        super().__init__({0x0A: " ", 0x0D: " ", 0x09: " "})
        self.undrawn = Counter[str]()
        self._drawable = drawable
        self._lost = ""

    def count(self, text: str) -> None:
        """Count the characters of a text that were left out when it was translated."""
        if self._lost:
            for run in re.finditer(f"[{re.escape(self._lost)}]+", text):
                self.undrawn.update(run[0])

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        kind = unicodedata.category(character)
        replacement: str | None = character
        if kind == "Zs":
            replacement = " "
        elif (
            code not in self._drawable
            or kind[0] in "CMZ"
            or unicodedata.bidirectional(character) in ("R", "AL")
        ):
            replacement = None
            if kind[0] != "C" or kind == "Co":
                self._lost += character
        self[code] = replacement
        return replacement


def text_files(path: Path, skipped: dict[str, str]) -> list[Path]:
    """Return the file itself, or every .txt and .md file below a folder.

    What is hidden there or cannot be entered is noted in `skipped`.
    """
    if not path.is_dir():
        return [path]
    below = all_below(path, lambda skip: skipped.setdefault(*skip))
    return sorted(
        file for _, file, kind in below if file.suffix.lower() in ENDINGS and not stat.S_ISDIR(kind)
    )


def without_markup(text: str) -> str:
    """Return the words of a text in Markdown; of a link, `[words](target)`, the words.

    Brackets that close are looked for once each, so the time grows with the length alone.
    """
    kept: list[str] = []
    at = words_end = target_end = 0
    while match := MARKUP.search(text, at):
        kept.append(text[at : match.start()])
        at = match.end()
        if text[at - 1] != "[":
            continue
        if 0 <= words_end < at:
            words_end = text.find("]", at)
        if words_end >= 0 and text.startswith("](", words_end):
            if 0 <= target_end < words_end + 2:
                target_end = text.find(")", words_end + 2)
            if target_end >= 0:
                kept.append(text[at:words_end])
                at = target_end + 1
                continue
        kept.append(match[0])
    return "".join(kept) + text[at:]


def read(file: Path) -> str:
    """Read a user's file, with the line ends of Unix and without a byte order mark.

    Raises:
        Unreadable: when it is no file, cannot be read, or is binary, neither UTF-8 nor UTF-16 with
            a byte order mark, or larger than LARGEST_BYTES.
    """
    name = readable(str(file))
    with foreign(name, "cannot be read; make it readable", Unreadable):
        if not file.is_file():
            raise Unreadable(name, "not a file; give a text file")
        size = file.stat().st_size
        if size > LARGEST_BYTES:
            raise Unreadable(name, f"{size:,} bytes are more than {LARGEST_BYTES:,}; split it")
        data = file.read_bytes()
    with foreign(name, "not UTF-8; save it as UTF-8", Unreadable):
        text = plain_text(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise Unreadable(name, "binary, or UTF-16 without its mark; save it as text in UTF-8")
    return text


@cache
def _many_marks() -> re.Pattern[str]:
    """Find more marks on a letter than any writing has: sorting n of them takes n squared."""
    marks = "".join(chr(code) for code in range(0x20000) if unicodedata.combining(chr(code)))
    return re.compile(f"([{marks}]{{30}})[{marks}]+")


def paragraphs(text: str, clean: Clean) -> dict[str, list[str]]:
    """Split at empty lines and sort by script: en, zh or other."""
    by_script: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
    if not text.isascii():
        text = unicodedata.normalize("NFC", _many_marks().sub(r"\1", text))
    for raw in re.split(r"\n\s*\n", text):
        if "\n" in raw:
            raw = BETWEEN_HAN.sub("", raw)
        paragraph = " ".join(raw.translate(clean).split())
        if paragraph:
            by_script[_script(paragraph)].append(paragraph)
    clean.count(text)
    return by_script


def _script(paragraph: str) -> str:
    han = sum(map(len, HAN.findall(paragraph)))
    latin = sum(map(len, LATIN.findall(paragraph)))
    if han and han >= 0.3 * (han + latin):
        return "zh"
    # Most of it Latin is most of its letters Latin: the slow count is seldom needed.
    if latin and (latin >= 0.5 * len(paragraph) or latin >= 0.5 * sum(map(str.isalpha, paragraph))):
        return "en"
    return "other"


def python_manual(clean: Clean) -> list[str]:
    """Return the prose paragraphs of the manual inside Python, topic by topic."""
    from pydoc_data.topics import topics

    return [part for name in sorted(topics) for part in _manual(topics[name], clean)]


def _manual(topic: str, clean: Clean) -> list[str]:
    """Return the prose paragraphs of one topic of Python's manual: no code, tables or headings."""
    prose: list[str] = []
    for raw in re.split(r"\n\s*\n", topic):
        lines = raw.splitlines()
        if any(re.match(r"\s{4}|\s*[+|=>~^\-*]{2}|\s*\*\*", line) for line in lines):
            continue
        plain = re.sub(r"\[[^\]]*\]|[*`_\"]{1,2}|::", "", raw)
        paragraph = " ".join(plain.translate(clean).split())
        letters = len(re.findall(r"[A-Za-z ,.]", paragraph))
        if len(paragraph) >= 120 and letters >= 0.95 * len(paragraph) and "  " not in paragraph:
            prose.append(paragraph)
            clean.count(plain)
    return prose
