"""Scores of a run while it goes on: the same at any number of ranks, and nothing is touched."""

import numpy as np
import pytest
import torch

from shards import Sample, ShardReader, ShardWriter, UserError, encode_png
from tests.vae.conftest import on_ranks, write_shard
from vae import VAE, DCTCodec, Objective, Step, VAESettings, to_image, to_pixels
from vae.inference.latents import effective_rank
from vae.metrics import psnr
from vae.training.ranks import ALONE
from vae.training.reductions import wrap
from vae.training.watch import Watch, central, flat


def model_of(settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return VAE(settings)


def score(sample, original, output):
    apart = np.abs(original.astype(int) - output).mean()
    return {"apart": float(apart), "odd": None if int(sample.key) % 2 else 1.0}


def distance(output, image):
    return (output - image).square().mean((1, 2, 3))


def watch(sets, settings, ranks=ALONE, trained=None, perceptual=distance, **options):
    options = {"images": 5, "side": 24, "score": score, "read": 3} | options
    return Watch(sets, trained or {}, settings, Objective(perceptual=perceptual), ranks, **options)


@pytest.fixture
def sets(tmp_path):
    folders = {
        "pages": write_shard(tmp_path / "pages", "text", 6, (40, 30)),
        "photos": write_shard(tmp_path / "photos", "photo", 2, (20, 50), seed=1),
    }
    return {name: str(folder) for name, folder in folders.items()}


def test_scores_are_those_of_each_set_and_codec(sets, tiny):
    model = model_of(tiny)
    scores, grids = watch(sets, tiny).take(model)
    assert [*scores] == ["pages", "photos"]
    assert [scores[name]["images"] for name in scores] == [5, 2]
    originals = [central(sample.pixels(), 24) for sample in ShardReader(sets["photos"])]
    assert originals[0].shape == (20, 24, 3)
    for name, codec in (("model", model), ("dct", DCTCodec(4, 6))):
        values = []
        for pixels in originals:
            image = to_image(pixels)[None]
            with torch.no_grad():
                output = to_image(to_pixels(codec(image)[0]))[None]
            values.append(psnr((output + 1) / 2, (image + 1) / 2).item())
        assert scores["photos"][name]["psnr"] == pytest.approx(np.mean(values))
    row = scores["pages"]["model"]
    assert row.keys() == {"psnr", "ssim", "perceptual", "apart", "odd"}
    assert row["odd"] == 1.0
    assert grids["photos"].shape == (2 * 20, 2 * 24, 3)
    assert np.array_equal(grids["photos"][:20, :24], originals[0])


def test_a_checkpoint_holds_the_scores_by_name(sets, tiny):
    scores, _ = watch(sets, tiny, score=lambda *_: {"ned": None}).take(model_of(tiny))
    numbers = flat(scores)
    assert numbers["pages.psnr"] == scores["pages"]["model"]["psnr"]
    assert numbers["pages.dct.psnr"] == scores["pages"]["dct"]["psnr"]
    assert numbers["photos.images"] == 2
    assert "pages.effective_rank" in numbers
    assert "pages.ned" not in numbers  # nothing was read
    assert {name.split(".")[0] for name in numbers} == {"pages", "photos"}


def test_latents_are_described_as_all_their_positions_say(sets, tiny):
    model = model_of(tiny)
    scores, _ = watch(sets, tiny).take(model)
    with torch.no_grad():
        z = torch.cat(
            [
                model.encode(to_image(central(sample.pixels(), 24))[None])[0].flatten(1)
                for sample in ShardReader(sets["photos"])
            ],
            1,
        )
    latents = scores["photos"]["latents"]
    assert latents["mean"] == pytest.approx(z.mean(1).tolist(), abs=1e-5)
    assert latents["std"] == pytest.approx(z.std(1, correction=0).tolist(), abs=1e-5)
    assert 1 <= latents["effective_rank"] <= 6


def test_the_effective_rank_counts_directions():
    assert effective_rank(np.eye(7)) == pytest.approx(7)
    assert effective_rank(np.diag([2.0, 2.0, 0, 0])) == pytest.approx(2)
    assert effective_rank(np.outer([1.0, 2, 3], [1, 2, 3])) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.zeros((3, 3))) == 0


def test_nothing_is_touched(sets, tiny):
    model = model_of(tiny).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(11)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    watch(sets, tiny, perceptual=None).take(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def shared(ranks, sets, settings):
    settings = VAESettings.model_validate(settings)
    watched, model = watch(sets, settings, ranks), model_of(settings)
    scores, grids = watched.take(model)
    if ranks.world > 1:  # and of a model of which each rank holds a part
        wrap("shard", Step(model, Objective()), ranks)
        torch.manual_seed(11)
        state = torch.get_rng_state()
        assert watched.take(model)[0] == scores
        assert torch.equal(torch.get_rng_state(), state)
    return (scores, grids), len(watched._crops)


@pytest.mark.slow
def test_ranks_share_the_images_and_say_what_one_says(sets, tiny):
    (scores, grids), images = shared(ALONE, sets, tiny.model_dump())
    assert images == 7
    for (theirs, shown), share in on_ranks(3, shared, sets, tiny.model_dump()):
        assert share == 3  # 7 images on 3 ranks: as many on each
        assert theirs == scores
        assert all(np.array_equal(shown[name], grids[name]) for name in grids)


def test_a_model_that_keeps_more_than_a_block_has_no_dct_codec(sets):
    wide = VAESettings(
        factor=2, channels=13, multipliers=(1, 1), encoder_width=4, decoder_width=4, skip="none"
    )
    scores, _ = watch(sets, wide, images=1).take(VAE(wide))
    assert scores["pages"].keys() == {"images", "model", "latents"}


def test_what_cannot_be_watched_is_refused_by_name(sets, tiny, tmp_path):
    copy = write_shard(tmp_path / "copy", "photo", 2, (20, 50), seed=1)
    small = write_shard(tmp_path / "small", "photo", 2, (15, 50))
    for watched, message in (
        ({"held": str(copy)}, r"held \(.*copy\) is watched and is the stream general as well"),
        ({"small": str(small)}, "holds no image of 16 px or more"),
        ({"nowhere": str(tmp_path / "nowhere")}, "nowhere"),
        ({"../up": sets["photos"]}, "'../up' is no name for data; use letters"),
        ({"a.dct": sets["photos"]}, "'a.dct' cannot be watched"),
    ):
        with pytest.raises(UserError, match=message):
            watch(watched, tiny, trained={"general": ShardReader(sets["photos"])})


def test_small_images_are_left_out_and_counted_by_none(tmp_path, tiny):
    folder = tmp_path / "mixed"
    folder.mkdir()
    with ShardWriter(folder, 0, recipe="r") as writer:
        for key, size in enumerate(((8, 40), (16, 16), (30, 20))):
            pixels = np.zeros((*size, 3), np.uint8)
            writer.write(Sample(f"{key:09d}", encode_png(pixels), "png"))
    scores, grids = watch({"mixed": str(folder)}, tiny).take(model_of(tiny))
    assert scores["mixed"]["images"] == 2
    assert grids["mixed"].shape == (2 * 24, 2 * 20, 3)
