"""`nonpareil export`: the same bits for diffusers, close values in ONNX, a card, a safe folder."""

import json
import re
import warnings

import pytest
import torch

from pipelines.export import CARD, NOTE, export_to
from shards import UserError
from tests.vae.conftest import settings, streams  # noqa: F401 - fixtures
from tests.vae.inference.test_export import say_the_same
from vae import fit, load_model

SCORES = {"pages.images": 6, "pages.psnr": 21.5, "pages.dct.psnr": 19.25, "pages.dct.ned": 0.5}
AWKWARD = "a|b <img src=x> `c` [d](e)\nf"


@pytest.fixture
def run(settings, streams, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    fit(settings, streams, out)
    for header in out.glob("step-*/state.json"):
        changes = {"recipe": AWKWARD, "scores": SCORES}
        header.write_text(json.dumps(json.loads(header.read_text()) | changes))
    return out


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_diffusers_reads_the_bits_that_were_trained(run, tmp_path):
    pytest.importorskip("diffusers")
    from vae.inference.adapter import AutoencoderNonpareil

    out = export_to(tmp_path / "out", run, "diffusers", "apache-2.0").path
    loaded, model = AutoencoderNonpareil.from_pretrained(out), load_model(run)
    assert loaded.vae.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.vae.state_dict()[name], value), name
    assert loaded.config.latents_std == model.latent_std.tolist() != [1.0] * 6
    card = (out / CARD).read_text()
    assert "\nlicense: apache-2.0\n" in card.split("---")[1]
    assert "<img" not in card
    assert "`c`" not in card
    assert "| digest of the recipe | a&#124;b &#60;img src=x&#62; " in card
    assert "| pages | this model | 6 | 21.50 | – | – | – | – |" in card
    assert "| pages | DCT codec | 6 | 19.25 | – | – | – | 0.5000 |" in card
    # A table stays one whatever its cells hold.
    assert {line.count("|") for line in card.splitlines() if line.startswith("| digest")} == {3}


def test_weights_alone_are_what_a_run_hands_out(run, tmp_path):
    out, model = export_to(tmp_path / "out", run, "nonpareil").path, load_model(run)
    assert {*contents(out)} == {"model.safetensors", "state.json", CARD, NOTE}
    loaded = load_model(out).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value), name


@pytest.mark.slow
def test_onnx_says_what_the_model_says(run, tmp_path):
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own future
        out = export_to(tmp_path / "out", run, "onnx").path
    assert {*contents(out)} == {"encoder.onnx", "decoder.onnx", CARD, NOTE}
    say_the_same(load_model(run), out)
    facts = json.loads((out / NOTE).read_text())
    assert facts["latents_std"] == load_model(run).latent_std.tolist()
    assert "not stated" in (out / CARD).read_text()


def test_an_export_replaces_an_older_one_and_what_others_put_there_stays(run, tmp_path):
    pytest.importorskip("diffusers")
    out = export_to(tmp_path / "out", run / "step-000006", "diffusers").path
    older = contents(out)
    assert json.loads(older[NOTE])["latents_std"] != [1.0] * 6
    (out / "LICENSE").write_text("mine")
    facts = json.loads(older[NOTE])
    facts["sha256"]["left over.bin"] = ""
    (out / "left over.bin").write_text("of a larger model")
    (out / NOTE).write_text(json.dumps(facts))
    export_to(out, run, "diffusers")
    newer = contents(out)
    assert newer.keys() == older.keys() | {"LICENSE"}
    assert json.loads(newer[NOTE])["n"] == 24
    export_to(out, run, "diffusers")
    assert contents(out) == newer
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    "note",
    [None, "{}", "[]", "no json", '{"sha256": {"../run": ""}}', '{"sha256": {"": ""}}'],
)
def test_a_folder_that_holds_other_things_is_refused_untouched(note, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("1")
    if note is not None:
        (out / NOTE).write_text(note)
    before = contents(out)
    with pytest.raises(UserError, match=f"is not empty and holds no {re.escape(NOTE)}"):
        export_to(out, tmp_path / "run", "diffusers")
    assert contents(out) == before


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for out, to, license, message in (
        ("out", "gguf", "", "choose nonpareil, diffusers, onnx"),
        ("out", "onnx", "mit\nx: y", "is no name of a licence"),
        ("out", "onnx", "mit", "no good checkpoint"),
        ("file", "onnx", "mit", "is no folder"),
        ("link", "onnx", "mit", "is no folder"),
    ):
        with pytest.raises(UserError, match=message):
            export_to(tmp_path / out, tmp_path / "run", to, license)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}
