"""Starting from weights that are there, and training one half of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from shards import UserError
from shards.store import open_store
from tests.vae.conftest import on_ranks
from vae import VAE, TrainSettings, VAESettings, Weights, fit, load_model
from vae.training.ranks import ALONE
from vae.training.reductions import whole
from vae.training.start import CONFIG, PREFIX, WEIGHTS, freeze, start_from, start_skip
from vae.training.train import begin


@pytest.fixture
def tiny(settings):
    return settings.model()


@pytest.fixture
def run(settings, streams, tmp_path):
    fit(settings.model_copy(update={"latent_batches": 2}), streams, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def folder(run, tmp_path):
    """What AutoencoderNonpareil writes; tests/pipelines/test_export.py has it written by itself."""
    model, out = load_model(run), tmp_path / "diffusers"
    out.mkdir()
    (out / CONFIG).write_text(json.dumps({"settings": model.settings.model_dump(mode="json")}))
    save_file({PREFIX + name: w for name, w in model.state_dict().items()}, out / WEIGHTS)
    return out


def differing(model, other):
    theirs = other.state_dict()
    return {name for name, w in model.state_dict().items() if not torch.equal(w, theirs[name])}


def test_a_run_a_step_and_a_diffusers_folder_give_the_same_start(run, folder, tiny, caplog):
    for place, source in (
        (run, run),
        (run / "step-000006", run / "step-000006"),
        (folder, run),
    ):
        model = VAE(tiny)
        start_from(model, str(place))
        assert not differing(model, load_model(source))
    assert not caplog.records


def test_settings_without_weights_may_differ_and_are_named(run, tiny, tmp_path, caplog):
    plain = tiny.model_copy(update={"skip": "none", "mirror": False, "feed_mirror": False})
    other = VAE(plain.model_copy(update={"skip": "global"}))
    save_file({PREFIX + k: w for k, w in other.state_dict().items()}, tmp_path / WEIGHTS)
    settings = other.settings.model_dump(mode="json")
    (tmp_path / CONFIG).write_text(json.dumps({"settings": settings}))
    model = VAE(plain)
    start_from(model, str(tmp_path))
    assert not differing(model, other)
    (record,) = caplog.records
    assert record.message.endswith("settings differ: skip is 'none', there 'global'")


def test_a_model_of_other_shapes_is_refused_by_name(run, tiny):
    wider = VAE(tiny.model_copy(update={"decoder_width": 6}))
    with pytest.raises(UserError, match=r"decoder_width is 6, there 4; \d+ tensors differ") as e:
        start_from(wider, str(run))
    assert "\n" not in str(e.value)


def test_a_bucket_gives_the_same_start(run, folder, tiny, s3):
    for source in (run / "step-000006", folder):
        store = open_store(f"{s3}/{source.name}")
        for file in source.iterdir():
            store.replace(file.name, file.read_bytes())
    for place, source in ((f"{s3}/step-000006", run / "step-000006"), (f"{s3}/diffusers", run)):
        model = VAE(tiny)
        start_from(model, place)
        assert not differing(model, load_model(source))


def test_a_file_that_can_be_no_such_model_is_not_read(folder, tiny):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"holds 1,099,511,627,776 bytes, more than"):
        start_from(VAE(tiny), str(folder))


@pytest.mark.parametrize("broken", [CONFIG, WEIGHTS])
def test_what_is_no_model_is_refused(folder, tiny, tmp_path, broken):
    with pytest.raises(UserError, match=r"^init: .* no good checkpoint"):
        start_from(VAE(tiny), str(tmp_path / "nowhere"))
    for text in ("{}", "[" * 9999):
        (folder / broken).write_text(text)
        with pytest.raises(UserError, match="is no model that AutoencoderNonpareil saved"):
            start_from(VAE(tiny), str(folder))


def test_a_run_goes_on_from_its_own_start_alone(settings, streams, run, tmp_path, monkeypatch):
    def fit_from(place):
        return fit(settings.model_copy(update={"init": str(place)}), streams, tmp_path / "tuned")

    other = shutil.copytree(run, tmp_path / "other")
    end = fit_from(run)
    with pytest.raises(UserError, match=r"began from init .*run, not from .*other; give the init"):
        fit_from(other)
    shutil.rmtree(run)
    monkeypatch.chdir(tmp_path)
    assert fit_from("run") == end  # it is not read again, nor told by its spelling


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_frozen_half_keeps_its_bits(settings, streams, run, tmp_path, half):
    asked = {"init": str(run), "train": half, "rate": {"peak": 0.01, "warmup": 0}}
    settings = TrainSettings.model_validate(settings.model_dump() | asked)
    end = fit(settings, streams, tmp_path / "tuned")
    changed = differing(load_model(end), load_model(run))
    learned = {"encoder": ("encoder.", "skip.analysis"), "decoder": ("decoder.", "skip.synthesis")}
    statistics = {"latent_mean", "latent_std"} if half == "encoder" else set()
    assert {name for name in changed if not name.startswith(learned[half])} == statistics
    assert len(changed) > 10
    moments = load_file(end / "optimizer.safetensors")
    learned = {name.rpartition(".")[0] for name in moments}
    assert len(learned) == len(begin(settings).model.half_of(half))


def started(ranks, settings, init, reduce):
    """Return the start weights after both ways to get some, whole."""
    model = begin(settings, ranks, reduce).model
    batches = torch.rand(3, 2, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    start_skip(model, iter(batches) if ranks.rank == 0 else iter(()), ranks)
    begun = {name: w.clone() for name, w in whole(model.state_dict()).items()}
    start_from(model, init, ranks)
    return begun, whole(model.state_dict())


def test_two_ranks_start_from_the_bits_of_one(settings, tiny, tmp_path):
    other = VAE(tiny)
    save_file({PREFIX + k: w for k, w in other.state_dict().items()}, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps({"settings": tiny.model_dump(mode="json")}))
    init = str(tmp_path)
    skip, loaded = started(ALONE, settings, init, "exact")
    assert not torch.equal(skip["skip.analysis"], begin(settings).model.skip.analysis)
    assert all(torch.equal(loaded[name], w) for name, w in other.state_dict().items())
    for theirs in on_ranks(2, started, settings, init, "shard"):
        for mine, weights in zip((skip, loaded), theirs, strict=True):
            assert all(torch.equal(mine[name], weights[name]) for name in mine)


def test_each_half_is_what_its_direction_needs(images):
    settings = VAESettings(
        factor=4,
        channels=6,
        multipliers=(1, 1, 1),
        encoder_width=4,
        decoder_width=4,
        skip="global-learned",
        mirror=True,
    )
    model = VAE(settings)
    for head in (model.encoder.head, model.decoder.head):
        torch.nn.init.ones_(head.conv.weight)
    halves = {half: model.half_of(half) for half in ("encoder", "decoder")}
    assert len({id(p) for half in halves.values() for p in half}) == len([*model.parameters()])
    freeze(model, "decoder")
    assert not model.encode(images).requires_grad
    freeze(model, "encoder")
    with torch.no_grad():
        z = model.encode(images)
    assert not model.decode(z).requires_grad
    freeze(model, "all")
    assert all(p.requires_grad for p in model.parameters())


def test_the_alignment_of_a_frozen_encoder_is_refused(settings):
    asked = {"train": "decoder", "weights": Weights(alignment=0.1)}
    with pytest.raises(ValidationError, match="freezes the encoder, which alone the alignment"):
        TrainSettings.model_validate(settings.model_dump() | asked)


def test_a_teacher_counts_by_its_files_and_what_a_run_began_from_no_more(
    settings, teacher, tmp_path
):
    def recipe(place, **more):
        given = {"alignment": {"teacher": place}, "weights": {"l1": 1, "alignment": 0.5}, **more}
        stage = settings.stages[0].model_copy(update={"resolution": 16})
        return TrainSettings.model_validate(
            settings.model_dump() | given | {"stages": (stage,)}
        ).recipe

    moved, other = (Path(shutil.copytree(teacher, tmp_path / name)) for name in ("moved", "other"))
    (other / "config.json").write_text("{}")
    assert recipe(teacher) == recipe(moved) != recipe(other)
    begun = recipe(teacher, init=str(tmp_path / "a"))
    assert recipe(teacher) != begun == recipe(teacher, init="nano")
    with pytest.raises(UserError, match="no teacher in"):
        recipe(tmp_path / "nowhere")
