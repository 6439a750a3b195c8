"""From files to paragraphs: what can be drawn of them, sorted by script."""

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from render.text.han import HAN
from shards import UserError

ENDINGS = frozenset({".txt", ".md"})

LARGEST_BYTES = 2**30
"""Most bytes of one file (our choice: it is read whole, and takes several times that in memory)."""

LATIN = re.compile(r"[A-Za-z]+")

MARKUP = re.compile(r"^\s{0,3}(?:#{1,6}|>|[-*+])\s+|[*`_]{1,3}|!?\[([^\]]*)\]\([^)]*\)", re.M)


class Clean(dict[int, str | None]):
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
        replacement: str | None = character
        if kind == "Zs":
            replacement = " "
        elif (
            code not in self._drawable
            or kind[0] in "CMZ"
            or unicodedata.bidirectional(character) in ("R", "AL")
        ):
            replacement = None
        self[code] = replacement
        return replacement


def text_files(path: Path) -> list[Path]:
    """Return the file itself, or every .txt and .md file below a folder."""
    if not path.is_dir():
        return [path]
    return sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and not f.is_dir())


def without_markup(text: str) -> str:
    """Return the words of a text in Markdown."""
    return MARKUP.sub(lambda match: match.group(1) or "", text)


def read(file: Path) -> str:
    """Read a user's file, with the line ends of Unix and without a byte order mark.

    Raises:
        UserError: when it is no file, cannot be read, or is binary, not UTF-8 or larger than
            LARGEST_BYTES.
    """
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


def paragraphs(text: str, clean: Clean) -> dict[str, list[str]]:
    """Split at empty lines and sort by script: en, zh or other."""
    by_script: dict[str, list[str]] = {"en": [], "zh": [], "other": []}
    for raw in re.split(r"\n\s*\n", unicodedata.normalize("NFC", text)):
        if "\n" in raw:
            raw = re.sub(r"(?<=[⺀-￯])\s*\n\s*(?=[⺀-￯])", "", raw)
        paragraph = " ".join(raw.translate(clean).split())
        if paragraph:
            by_script[_script(paragraph)].append(paragraph)
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
        paragraph = " ".join(
            re.sub(r"\[[^\]]*\]|[*`_\"]{1,2}|::", "", raw).translate(clean).split()
        )
        letters = len(re.findall(r"[A-Za-z ,.]", paragraph))
        if len(paragraph) >= 120 and letters >= 0.95 * len(paragraph) and "  " not in paragraph:
            prose.append(paragraph)
    return prose
