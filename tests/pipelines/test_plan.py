"""`nonpareil plan` on a recipe that ships, and on what it must refuse."""

import json
import re

import pytest
from typer.testing import CliRunner

from pipelines.cli import app

SMALL = (
    '--set=stages=[{name="a", samples=16, batch=4, micro=2, resolution=32, aspects=[1.0], '
    "shares={general=1.0}}]"
)


def told(*arguments):
    return CliRunner().invoke(app, ["plan", "train_nano", SMALL, *arguments])


def test_a_plan_for_machines_holds_hours_and_cost():
    result = told(
        *("--ranks", "2", "--gpu", "a100", "--price", "2", "--json"),
        "--set=precision=bfloat16",
    )
    assert result.exit_code == 0, result.output
    row = json.loads(result.output)
    assert row["cost"] == pytest.approx(2 * row["gpu_hours"])
    (stage,) = row["stages"]
    assert stage["streams"] == {"general": {"drawn": 16}}
    assert set(stage["memory"]) == {
        f"bfloat16, {blocks}, {reduce}"
        for blocks in ("kept", "recomputed")
        for reduce in ("fast", "exact", "shard")
    }


def test_a_plan_for_people_says_what_limits_and_what_it_assumes(tmp_path):
    picture = tmp_path / "new" / "knobs.svg"
    result = told("--gpu", "h100", "--utilisation", "0.4", "--picture", str(picture))
    assert result.exit_code == 0, result.output
    assert "limit    " in result.output
    assert "at 40% in convs" in result.output
    assert "learning rate" in picture.read_text() or picture.stat().st_size > 1000


def test_the_images_of_a_stream_without_an_index_are_unknown():
    stream = ("--stream", "general=https://host/photos-{0000..0009}.tar")
    result = told(*stream)
    assert result.exit_code == 0, result.output
    assert re.search(r"general +16 +unknown +unknown +unknown\n", result.output)
    (stage,) = json.loads(told(*stream, "--json").output)["stages"]
    assert stage["streams"] == {"general": {"drawn": 16}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "abacus"], "--gpu abacus is not known; choose h100"),
        (["--price", "2"], "--price needs --gpu"),
        (["--ranks", "3"], "cannot be shared by 3 ranks"),
        (["--picture", "knobs.gif"], "does not end in .svg or .png"),
        (["--stream", "general=nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, said, monkeypatch):
    from shards.errors import UserError

    result = told(*arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)


def test_a_stage_may_be_called_as_it_likes(tmp_path):
    strange = SMALL.replace('"a"', r'"_$\\frac"')
    result = told(strange, "--picture", str(tmp_path / "knobs.png"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "knobs.png").stat().st_size > 1000
