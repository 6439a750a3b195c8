"""`nonpareil fonts`, also `python -m pipelines.fonts`: the type of a recipe, face by face."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import JsonOption, RecipeArgument, SetOption
from shards.console import print_json, print_table, run_command
from shards.places import anywhere, file_at
from shards.store import Store

if TYPE_CHECKING:
    from render import Fonts
    from render.type.glyphs import Face


def fonts(
    recipe: RecipeArgument,
    *,
    specimen: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--specimen"),
            help="Draw every face into this picture.",
            metavar="FILE.png|URL",
            show_default=False,
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
    as_json: JsonOption = False,
) -> None:
    """List the fonts of a recipe: designs, coverage, why not.

    Example: nonpareil fonts render_pages --specimen runs/fonts.png

    Example: nonpareil fonts render_pages --set render.fonts=my/fonts
    """
    from pipelines.engine.jobs import RenderJob
    from pipelines.recipe import atlas_folder, load
    from render import Fonts
    from render.specimen import specimen as drawn
    from shards import encode

    pages = load(RenderJob, recipe, settings).render
    above = file_at(specimen, "--specimen", [".png"]) if specimen is not None else None
    used = Fonts.of(pages.fonts or (), embedded=pages.embedded_fonts, cache=atlas_folder())
    if above:
        folder, name = above
        folder.replace(name, encode(drawn(used), Path(name).suffix[1:].lower()))
    faces = [_row(face) for face in sorted(used.faces.values(), key=lambda f: (f.design, f.name))]
    if as_json:
        print_json({"faces": faces, "designs": _designs(used), "skipped": used.skipped})
        return
    print_table("", faces)
    for language, designs in _designs(used).items():
        typer.echo(f"{language}: {len(designs)} designs: {', '.join(designs)}")
    for name, reason in used.skipped.items():
        typer.echo(f"not used: {name}: {reason}")


def _row(face: "Face") -> dict[str, Any]:
    from render.text.scripts import ASCII, HAN, HAN_TRADITIONAL

    codes = {*face.codes.tolist()}
    return {
        "design": face.design,
        "face": face.name,
        "style": " ".join(sorted(face.style_class)) or "text",
        "languages": " ".join(sorted(face.languages)),
        "weights": " ".join(
            f"{weight:g}" for axis in face.axes if axis.tag == "wght" for weight in axis.values
        ),
        "characters": len(face.codes),
        "ASCII %": round(100 * len(codes & ASCII) / len(ASCII)),
        "GB2312-1 %": round(100 * len(codes & HAN) / len(HAN)),
        "Big5-1 %": round(100 * len(codes & HAN_TRADITIONAL) / len(HAN_TRADITIONAL)),
    }


def _designs(used: "Fonts") -> dict[str, list[str]]:
    """Return by language the designs that running text is set in."""
    return {
        language: sorted(family[0].design for family in families)
        for language in ("en", "zh", "zh-hant")
        if (families := used.families(language))
    }


if __name__ == "__main__":
    run_command(fonts)
