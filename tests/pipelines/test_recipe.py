"""Recipes: where settings come from, and what a mistake in them says."""

import json
import os

import pytest
from pydantic import Field

from pipelines.engine.quarantine import Quarantine
from pipelines.recipe import apply, load, names
from shards import Settings, UserError, open_store
from shards.outputs import claim
from shards.settings import Seed, differences


class Inner(Settings):
    size: int = Field(default=3, ge=1)
    name: str = "x"


class Outer(Settings):
    seed: Seed = 0
    share: float = 1.0
    count: int = 1
    inner: Inner = Inner()
    rows: tuple[Inner, ...] = ()


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 5\n[inner]\nsize = 7\n[[rows]]\nname = 'a'\n")
    return str(path)


def test_file_overrides_defaults_and_set_overrides_the_file(recipe):
    assert load(Outer, recipe).inner.size == 7
    found = load(Outer, recipe, ["inner.size=9", "inner.name=plain text", "rows.0.size=2"])
    assert (found.seed, found.inner, found.rows[0].size) == (5, Inner(size=9, name="plain text"), 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner.sise=1", "unknown key inner.sise; allowed: name, size .did you mean size"),
        ("rows.0.nam=1", "unknown key rows.0.nam; allowed: name, size"),
        ("nothing=1", "allowed: count, inner, rows, seed, share"),
        ("inner.size=0", r"inner.size: .*greater than or equal to 1 .given: 0"),
        ("inner.size=big", r"inner.size: .*integer.*given: 'big'"),
        ("inner.size", "write it as a.b=value"),
        ("rows.7.size=1", "leads to no setting"),
        ("seed.deep=1", "leads to no setting"),
        (f"seed={2**64}", "seed: a seed is a whole number from 0 to 2.64 - 1 .given: 1844"),
        ("seed=-1", "seed: a seed is a whole number from 0"),
        (f"seed={'9' * 5000}", "seed: .*exceeded maximum size .given: '999"),
        ("share=nan", "share: .*finite number .given: nan"),
        ("share=-inf", "share: .*finite number .given: -inf"),
        (f"count={10**30}", "count: 1000.* fits no 64 bits"),
        (f"share={'[' * 9999}", "share: .*valid number"),
    ],
)
def test_mistakes_name_key_and_remedy(recipe, override, message):
    with pytest.raises(UserError, match=message):
        load(Outer, recipe, [override])


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path, codec):
    (tmp_path / "mine.toml").write_bytes("seed = 5\r\n[inner]\r\nsize = 7\r\n".encode(codec))
    assert load(Outer, str(tmp_path / "mine.toml")).inner.size == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 1\nseed = 2", "Cannot overwrite a value"),
        ("seed = " + "9" * 5000, "4300 digits"),
        ("a = " + "[" * 99999, "no TOML that can be read"),
        ("a = " + "{a=" * 99999, "no TOML that can be read"),
        ("a." * 50000 + "b = 1", "a key of more than 100 parts"),
        ("#" * (2**20 + 1), "1,048,577 bytes are more than"),
        ("seed = '\udce9'", "codec can't decode"),
    ],
)
def test_no_recipe_takes_long_or_ends_in_a_traceback(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=rf"mine\.toml.*{message}"):
        load(Outer, str(path))


def test_a_comment_may_hold_a_rule_of_dots(tmp_path):
    (tmp_path / "mine.toml").write_text(f"# {'.' * 200}\nseed = 5\n")
    assert load(Outer, str(tmp_path / "mine.toml")).seed == 5


def test_a_recipe_that_is_no_file_is_named(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    for name in ("folder.toml", "pipe.toml"):
        with pytest.raises(UserError, match=f"{name} is no file; give a .toml file"):
            load(Outer, str(tmp_path / name))


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff"])
def test_an_output_with_a_broken_recipe_is_refused_by_name(tmp_path, data):
    (tmp_path / "recipe.json").write_bytes(data)
    with pytest.raises(UserError, match=r"recipe\.json .*; give a new --out folder"):
        claim(tmp_path, {"kind": "x", "recipe": {}})
    (tmp_path / "quarantine.json").write_bytes(data)
    with pytest.raises(UserError, match=r"quarantine\.json .*; delete it"):
        Quarantine(open_store(tmp_path))


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.toml does not exist; give .*quickstart"):
        load(Outer, str(tmp_path / "no.toml"))
    with pytest.raises(UserError, match="'nope' does not ship"):
        load(Outer, "nope")
    (tmp_path / "bad.toml").write_text("seed =")
    with pytest.raises(UserError, match=r"bad\.toml cannot be read as TOML"):
        load(Outer, str(tmp_path / "bad.toml"))


def test_recipes_open_with_their_purpose():
    from pipelines.recipe import find

    assert "quickstart" in names()
    for name in names():
        assert find(name).read_text().startswith("# ")


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("train_")])
def test_training_recipes_are_training_settings(name):
    from vae import TrainSettings

    settings = load(TrainSettings, name)
    assert settings.model().skip != "none"
    assert settings.largest_weights().l1 > 0


def test_backgrounds_are_photographs_without_writing():
    from pipelines.engine.jobs import FilterJob
    from render import Renderer, RenderSettings
    from render.settings import only

    density = load(FilterJob, "filter_backgrounds").filter[-1]
    settings = RenderSettings(layouts={"scatter": 1.0}, flat_share=0.0, **only("bare"))
    renderer = Renderer(settings)
    written = renderer.sample(0)
    empty = renderer.backgrounds.paint(written.meta["plan"].background)
    assert density.reason(density.score(written.pixels())) == "many_characters"
    assert density.reason(density.score(empty)) is None


def test_output_belongs_to_one_recipe(tmp_path):
    out = tmp_path / "out"
    claim(out, {"recipe": {"a": {"b": 1}}})
    claim(out, {"recipe": {"a": {"b": 1}}})
    (out / "part-000000.tar").write_bytes(b"")
    before = (out / "recipe.json").read_bytes()
    with pytest.raises(UserError, match=r"recipe\.a\.b: 1 → 2"):
        claim(out, {"recipe": {"a": {"b": 2}}})
    assert (out / "recipe.json").read_bytes() == before
    assert json.loads(before)["recipe"] == {"a": {"b": 1}}


def test_a_run_that_made_nothing_does_not_hold_the_folder(tmp_path):
    claim(tmp_path, {"recipe": {"stream": "misspelt"}})
    claim(tmp_path, {"recipe": {"stream": "right"}})
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"] == {"stream": "right"}


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        claim(tmp_path / "file", {})
    with pytest.raises(UserError, match=r"holds no recipe\.json"):
        claim(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_differences_go_deep():
    old, new = {"a": {"b": 1, "c": [1]}, "d": 0}, {"a": {"b": 1, "c": [2]}, "e": 0}
    assert differences(old, new) == ["a.c: [1] → [2]", "d: 0 → None", "e: None → 0"]
    tables = {"a": [{"b": 1}, {"b": 2}]}
    assert differences(tables, {"a": [{"b": 1}, {"b": 3}]}) == ["a.1.b: 2 → 3"]
    assert differences(tables, {"a": [{"b": 1}]}) == ["a: [{'b': 1}, {'b': 2}] → [{'b': 1}]"]


def test_numbers_in_a_path_are_positions():
    table = {"rows": [{"x": 1}]}
    apply(table, "rows.0.x=[1, 2]")
    assert table == {"rows": [{"x": [1, 2]}]}
