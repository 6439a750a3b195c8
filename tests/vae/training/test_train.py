import json
import signal

import cv2
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from shards import UserError
from shards.store import Folder
from vae import VAE, Stage, TrainSettings, fit, load_model
from vae.objective.losses import Weights
from vae.skips import dct_basis
from vae.training.checkpoint import Checkpoint, checkpoints, newest
from vae.training.ranks import ALONE
from vae.training.train import begin


def weights(checkpoint):
    # Copies: load_file maps the file, and a test may overwrite it.
    return {name: w.clone() for name, w in load_file(checkpoint / "model.safetensors").items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_checkpoints_records_and_samples(settings, streams, tmp_path):
    out, seen = tmp_path / "out", []
    last = fit(settings, streams, out, progress=seen.append)
    assert last == out / "step-000008"
    assert checkpoints(out) == ["step-000006", "step-000008"]
    assert seen == rows(out)
    assert [row["step"] for row in seen] == [2, 4, 6, 8]
    assert [row["n"] for row in seen] == [8, 16, 20, 24]
    assert seen[-1]["shares"] == {"general": 0.0, "synthetic": 1.0}
    assert {"l1", "total", "gradient_norm", "rate", "images_per_second"} < seen[0].keys()
    assert {"height", "width", "images", "weights"} < seen[0].keys()
    assert seen[-1]["seconds_left"] == 0
    for row, name in ((seen[2], "step-000006"), (seen[3], "step-000008")):
        measured = Checkpoint(Folder(out / name)).header.measured
        assert 1 <= measured.pop("effective_rank") <= settings.model().channels
        assert {"l1", "total", "gradient_norm"} <= measured.keys()
        assert measured == {term: row[term] for term in measured}
    assert not (out / "samples").exists()  # nothing is watched
    assert list(out.glob("events.out.tfevents.*"))
    assert TrainSettings.model_validate_json((out / "settings.json").read_text()) == settings


def test_watching_scores_a_run_and_changes_no_bit_of_it(settings, streams, make_shard, tmp_path):
    settings = settings.model_copy(update={"watch_every": 8, "watch_images": 2})
    held = {"held": make_shard("held", "photo", 2, (20, 24))}
    read = []

    def score(sample, original, output):
        read.append(sample.key)
        return {"ned": 0.5}

    plain = fit(settings, streams, tmp_path / "plain")
    watched = fit(settings, streams, tmp_path / "watched", watched=held, score=score)
    assert same_bits(weights(plain), weights(watched))
    moments = (out / "optimizer.safetensors" for out in (plain, watched))
    assert len({file.read_bytes() for file in moments}) == 1
    scores = newest(watched).header.scores
    assert {"held.psnr", "held.ned"} < scores.keys()
    lines = (tmp_path / "watched/watch.jsonl").read_text().splitlines()
    seen = [json.loads(line) for line in lines]
    assert [row["n"] for row in seen] == [8, 16, 24]
    assert seen[-1]["sets"]["held"]["model"]["ned"] == 0.5
    assert {"psnr", "ssim", "perceptual", "ned"} == seen[0]["sets"]["held"]["dct"].keys()
    assert seen[0]["sets"]["held"]["latents"]["effective_rank"] > 1
    assert len(read) == 2 * (3 + 1)  # the model at each watch, the DCT codec once
    grids = sorted((tmp_path / "watched/samples").iterdir())
    assert [path.name for path in grids] == [f"held-{n:012d}.png" for n in (8, 16, 24)]
    assert cv2.imread(str(grids[0])).shape == (40, 48, 3)


def test_a_stream_cannot_be_watched(settings, streams, tmp_path):
    with pytest.raises(UserError, match="is watched and is the stream general as well"):
        fit(settings, streams, tmp_path / "out", watched={"held": streams["general"]})
    assert not (tmp_path / "out").exists()


def test_a_stage_may_weigh_the_objective_its_own_way(settings, streams, tmp_path):
    first, *rest = settings.stages
    halved = Stage.model_validate(first.model_dump() | {"weights": {"l1": 0.5}})
    settings = settings.model_copy(update={"stages": (halved, *rest), "weights": Weights(l1=2)})
    fit(settings, streams, tmp_path / "out")
    ratios = {row["stage"]: row["total"] / row["l1"] for row in rows(tmp_path / "out")}
    assert ratios == pytest.approx({stage.name: 2 for stage in rest} | {first.name: 0.5})
    assert settings.largest_weights() == Weights(l1=2)


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_stopped_run_ends_with_the_bits_of_one_that_was_not(settings, streams, tmp_path, loaders):
    def stop(row):
        if row["step"] == 4:
            signal.raise_signal(signal.SIGINT)

    whole = fit(settings, streams, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(settings, streams, tmp_path / "cut", loaders=loaders, progress=stop)
    assert newest(tmp_path / "cut").header.name == "step-000004"
    resumed = fit(settings, streams, tmp_path / "cut", loaders=loaders)
    assert same_bits(weights(whole), weights(resumed))
    same = ("step", "n", "stage", "rate", "l1", "total", "gradient_norm", "shares")
    whole_rows, cut_rows = (rows(tmp_path / name) for name in ("whole", "cut"))
    assert [[r[k] for k in same] for r in whole_rows] == [[r[k] for k in same] for r in cut_rows]


def test_a_state_is_loaded_as_it_was_saved(settings, streams, tmp_path):
    last = fit(settings, streams, tmp_path / "out")
    state = begin(settings)
    checkpoint = Checkpoint(Folder(last))
    state.load(checkpoint)
    assert (state.step, state.n) == (8, 24)
    header = checkpoint.header
    state.snapshot(header.recipe, header.streams, ALONE).publish(Folder(tmp_path / "copy"))
    for file in last.iterdir():
        assert (tmp_path / "copy" / last.name / file.name).read_bytes() == file.read_bytes()


def test_a_finished_run_is_not_trained_again(settings, streams, tmp_path):
    first = fit(settings, streams, tmp_path / "out")
    before = weights(first)
    assert same_bits(before, weights(fit(settings, streams, tmp_path / "out")))


def test_a_broken_checkpoint_is_passed_over_for_the_newest_good_one(settings, streams, tmp_path):
    last = fit(settings, streams, tmp_path / "out")
    before = weights(last)
    file = last / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0\1")
    assert newest(tmp_path / "out").header.name == "step-000006"
    with pytest.raises(UserError, match="not a whole checkpoint"):
        Checkpoint(Folder(last)).verify()
    assert same_bits(before, weights(fit(settings, streams, tmp_path / "out")))


def test_a_checkpoint_of_another_model_is_refused(settings, streams, tmp_path):
    fit(settings, streams, tmp_path / "out")
    other = settings.model_copy(update={"overrides": settings.overrides | {"decoder_width": 6}})
    with pytest.raises(UserError, match=r"another recipe \(overrides.decoder_width: 4 → 6\)"):
        fit(other, streams, tmp_path / "out")


def test_load_model_takes_the_newest_checkpoint_of_a_folder(settings, streams, tmp_path):
    last = fit(settings, streams, tmp_path / "out")
    model = load_model(tmp_path / "out")
    assert isinstance(model, VAE)
    assert not model.training
    assert same_bits(load_model(tmp_path / "out", average=False).state_dict(), weights(last))
    with pytest.raises(UserError, match="no good checkpoint"):
        load_model(tmp_path / "nothing")


def test_the_loss_falls_when_one_small_shard_is_learned(settings, make_shard, tmp_path):
    folder = make_shard("s", "text", 1, (16, 16))
    change = {"samples": 600, "resolution": 16, "shares": {"s": 1.0}}
    stage = Stage.model_validate(settings.stages[0].model_dump() | change)
    overfit = settings.model_copy(
        update={"stages": (stage,), "log_every": 10, "resized": (), "checkpoint_every": 600}
    )
    seen = []
    fit(overfit, {"s": folder}, tmp_path / "out", progress=seen.append)
    assert seen[-1]["l1"] < 0.8 * seen[0]["l1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "giant"}, "choose f16c64, f16c128"),
        ({"overrides": {"width": 3}}, "width"),
        ({"stages": ()}, "there is no stage; give at least one"),
        ({"overrides": {"colours": 4}}, "shards are read as RGB"),
        ({"sample_every": 200}, "sample_every is now watch_every; .* counts samples"),
        ({"weights": {"lpips": 1.0}}, "stage 'one': crops of 8 px a side are too small for lpips"),
        ({"weights": {"alignment": 1.0}}, "resolution 8 is no .* 16 px, .* of the teacher"),
        ({"preset": "nano", "overrides": {}}, "no multiple of 16 px, which hold whole"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(settings, change, message):
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(settings.model_dump() | change)


def test_the_skip_starts_from_the_data_or_from_the_dct(settings, streams, tmp_path):
    slow = {"peak": 1e-9, "warmup": 0}
    start = settings.model_dump() | {"rate": slow, "weight_decay": 0}
    for count, is_dct in ((0, True), (4, False)):
        checkpoint = fit(
            TrainSettings.model_validate(start | {"skip_start": count}),
            streams,
            tmp_path / f"out{count}",
        )
        basis = torch.from_numpy(dct_basis(4, 6))
        found = weights(checkpoint)["skip.analysis"]
        assert torch.allclose(found, basis, atol=1e-4) == is_dct
        assert torch.allclose(found @ found.T, torch.eye(6), atol=1e-4)


def test_a_misspelt_resized_stream_is_named(settings):
    with pytest.raises(ValidationError, match="resized names genral, but the stages draw from"):
        TrainSettings.model_validate(settings.model_dump() | {"resized": ("genral",)})
