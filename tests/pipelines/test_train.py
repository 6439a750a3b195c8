"""`nonpareil train` on streams that move, change, or lie in a bucket, into a folder or a bucket."""

import json
from pathlib import Path

import pytest

from pipelines.evaluate import evaluate_to
from pipelines.evaluation.scoring import ScoringSettings
from pipelines.options import places_by_name
from pipelines.training import Training, reading, train_to
from shards import UserError, open_store
from tests.vae.conftest import TINY, write_shard
from vae import TrainSettings, load_model


@pytest.fixture
def settings():
    stage = {
        "name": "a",
        "samples": 4,
        "batch": 2,
        "micro": 2,
        "resolution": 8,
        "shares": {"general": 1},
    }
    return TrainSettings(overrides=TINY, stages=(stage,), skip_start=0, latent_batches=1)


def test_a_stream_may_move_but_not_change(settings, tmp_path, s3):
    first = write_shard(tmp_path / "first", "photo", 3, (20, 20))
    other = write_shard(tmp_path / "other", "photo", 3, (20, 20), seed=1)
    last = train_to(Training(settings, {"general": first}, tmp_path / "run"))
    with pytest.raises(UserError, match="on other samples than stream general holds now"):
        train_to(Training(settings, {"general": other}, tmp_path / "run"))
    url = f"{s3}/{tmp_path.name}"
    for file in sorted(first.iterdir()):
        open_store(f"{url}/first").replace(file.name, file.read_bytes())
    streams = places_by_name([f"general={url}/first"], "--stream")
    assert train_to(Training(settings, streams, tmp_path / "run")) == last
    again = train_to(Training(settings, streams, f"{url}/run"))
    assert again == f"{url}/run/{Path(last).name}"
    assert load_model(again).state_dict().keys() == load_model(last).state_dict().keys()


def test_a_name_that_is_given_again_has_all_its_places(settings, tmp_path):
    first = write_shard(tmp_path / "first", "photo", 3, (20, 20))
    other = write_shard(tmp_path / "other", "photo", 2, (20, 20), seed=1)
    held = write_shard(tmp_path / "held", "photo", 1, (20, 20), seed=2)
    both = places_by_name([f"general={first}", f"general={other}"], "--stream")
    assert both == {"general": (str(first), str(other))}
    quiet = settings.model_copy(update={"watch_read": 0})
    watched = {"held": (held, other)}
    train_to(Training(quiet, {"general": first}, tmp_path / "one", watched=watched))
    (row,) = map(json.loads, (tmp_path / "one/watch.jsonl").read_text().splitlines())
    assert row["sets"]["held"]["images"] == 3
    last = train_to(Training(quiet, both, tmp_path / "run"))
    assert train_to(Training(quiet, both, tmp_path / "run")) == last
    for places in ((other, first), (first,), (first, other, held)):
        with pytest.raises(UserError, match="on other samples than stream general holds now"):
            train_to(Training(quiet, {"general": places}, tmp_path / "run"))
    with pytest.raises(UserError, match="lies in general="):
        train_to(Training(quiet, both, other / "run"))
    data, scoring = {"pages": (held, other)}, ScoringSettings(images=3, side=16, pictures=3)
    row, _ = evaluate_to(tmp_path / "scores", tmp_path / "run", data, scoring, ocr=False)
    assert row["images"] == 3
    kept = {path.name for path in (tmp_path / "scores/pages").iterdir()}
    assert kept == {"000000", "000000-1", "000001"}


def test_watched_sets_are_scored_and_read_where_that_is_asked_for(settings, tmp_path):
    streams = {"general": write_shard(tmp_path / "first", "photo", 3, (20, 20))}
    watched = {"held": write_shard(tmp_path / "held", "photo", 2, (20, 20), seed=1)}
    assert callable(reading(settings))
    quiet = settings.model_copy(update={"watch_read": 0})
    assert reading(quiet) is None
    train_to(Training(quiet, streams, tmp_path / "run", watched=watched))
    (row,) = map(json.loads, (tmp_path / "run/watch.jsonl").read_text().splitlines())
    assert row["sets"]["held"]["images"] == 2


def test_on_a_cpu_each_core_gets_a_rank_that_the_stages_can_use(settings, monkeypatch):
    def usual(micros=4, cores=6, streams=("s",), **more):
        stage = settings.stages[0].model_copy(update={"batch": 2 * micros})
        run = settings.model_copy(update={"stages": (stage,)})
        monkeypatch.setattr("pipelines.training.cores", lambda: cores)
        return Training(run, {"general": streams}, "out", **more).usual_ranks()

    assert [usual(cores=cores) for cores in (1, 2, 3, 4, 64)] == [1, 2, 2, 4, 4]
    assert [usual(micros) for micros in (1, 2, 8)] == [1, 2, 4]
    assert usual(device="cuda") == usual(streams=("pipe:cat a.tar",)) == 1
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert usual() == 1
