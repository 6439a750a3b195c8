"""Pages of known text, drawn with fonts that pip brought."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shards import RGB
from shards.embedded import installed

FONTS = {
    "en": ("fontpkg_ibm_plex_mono", "files/IBMPlexMono-Regular.ttf"),
    "zh": ("paperang_p2_fonts_cjk", "fonts/wqy-microhei.ttc"),
}

WORDS = {
    "en": "Every morning the ferry carried letters and fresh bread across the quiet bay while "
    "gulls followed close behind hoping that somebody would drop a crust before noon ",
    "zh": "清晨的渡船载着信件和新鲜面包穿过安静的海湾海鸥紧紧跟在后面希望有人在中午之前掉下一块面包"
    "老人坐在码头上修补渔网孩子们在沙滩上奔跑",
}


def page(language: str, size_px: int, *, height: int = 256, width: int = 256) -> tuple[RGB, str]:
    """Return a page black on white, filled with lines of `size_px` em, and its text."""
    package, name = FONTS[language]
    folder = installed(package)
    assert folder is not None
    font = ImageFont.truetype(folder / name, size_px)
    image = Image.new("RGB", (width, height), "white")
    pen, rest, lines = ImageDraw.Draw(image), WORDS[language] * 40, list[str]()
    for y in range(8, height - 2 * size_px, round(1.5 * size_px)):
        count = int((width - 16) / font.getlength("字" if language == "zh" else "m"))
        line, rest = rest[:count].strip(), rest[count:]
        pen.text((8, y), line, "black", font)
        lines.append(line)
    return np.asarray(image), "\n".join(lines)
