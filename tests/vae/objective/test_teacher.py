import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Model, ViTConfig

from shards import UserError
from vae.objective.teacher import MEAN, STD, Teacher


def test_features_are_the_middle_block_s_without_its_class_token(teacher, images):
    grid = (4, 6)
    found = Teacher(teacher)
    whole = Dinov2Model.from_pretrained(teacher)
    with torch.no_grad():
        hidden = whole(found.pixels(images, grid), output_hidden_states=True).hidden_states
    expected = hidden[2][:, 1:].mT.reshape(2, 32, 4, 6)
    assert torch.allclose(found(images, grid), expected, atol=1e-5)


@pytest.mark.parametrize(("layer", "kept"), [(None, 2), (1, 1), (4, 4)])
def test_only_the_blocks_that_are_needed_run(teacher, layer, kept):
    assert len(Teacher(teacher, layer).net.encoder.layer) == kept


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (4, 4), (7, 3)])
def test_any_grid_and_aspect_ratio(teacher, images, grid):
    features = Teacher(teacher)(images, grid)
    assert features.shape == (2, 32, *grid)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


def test_rows_and_columns_keep_their_places(teacher):
    image = torch.zeros(1, 3, 28, 70)
    changed = image.clone()
    changed[:, :, :14, 56:] = 1
    patches = Teacher(teacher, 1).net.embeddings.patch_embeddings
    found = Teacher(teacher, 1)
    with torch.no_grad():
        a, b = (patches(found.pixels(x, (2, 5))) for x in (image, changed))
    # A patch next to the change sees the ringing of the bicubic filter at most.
    moved = (a - b).abs().sum(2).reshape(2, 5)
    assert moved.argmax() == 4
    assert moved[1, 0] == moved[0, 0] == 0


def test_pixels_are_normalised_as_for_imagenet(teacher):
    white = Teacher(teacher).pixels(torch.ones(1, 3, 16, 32), (1, 2))
    assert white.shape == (1, 3, 14, 28)
    assert white.mean((0, 2, 3)).tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)], abs=1e-5
    )


def test_a_missing_package_is_named_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'nonpareil\[alignment\]'"):
        Teacher("facebook/dinov2-small", load=False)


def test_a_teacher_never_learns(teacher, images):
    found = Teacher(teacher).train()
    assert not any(module.training for module in found.modules())
    assert not any(p.requires_grad for p in found.parameters())
    assert not found(images.clone().requires_grad_(), (4, 6)).requires_grad


def damaged(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_what_is_no_teacher_is_named_in_one_line(teacher, tmp_path):
    with pytest.raises(UserError, match=r"layer=5: the teacher .* has blocks 1 to 4$"):
        Teacher(teacher, 5)

    def refused(name, message):
        with pytest.raises(UserError, match=message) as caught:
            Teacher(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert "give a hub id, or a folder" in str(caught.value)

    refused("nothing", "no teacher in .*nothing")
    for name in ("vit", "pickled", "cut", "empty"):
        shutil.copytree(teacher, tmp_path / name)
    ViTConfig().save_pretrained(tmp_path / "vit")
    refused("vit", "it is a vit, not a dinov2")
    weights = load_file(tmp_path / "pickled/model.safetensors")
    (tmp_path / "pickled/model.safetensors").unlink()
    torch.save(weights, tmp_path / "pickled/pytorch_model.bin")
    refused("pickled", "model.safetensors")
    damaged(tmp_path / "cut", lambda weights: weights.pop("embeddings.cls_token"))
    refused("cut", "1 of its weights are missing")
    (tmp_path / "empty/model.safetensors").write_bytes(b"")
    refused("empty", "no teacher in")


def test_code_in_the_folder_is_not_run(teacher, tmp_path):
    folder = tmp_path / "code"
    shutil.copytree(teacher, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert Teacher(str(folder)).width == 32
    assert not (tmp_path / "ran").exists()
