"""Checkpoints: which is the newest, what a run does about broken ones, and what it refuses."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from shards import UserError, open_store
from shards.store.lock import LOCK, Lock
from tests.vae.conftest import write_shard
from vae import TrainSettings, fit, load_model
from vae.training.checkpoint import HEADER, Checkpoint, checkpoints, newest
from vae.training.ranks import ALONE, Ranks
from vae.training.start import start_from
from vae.training.train import begin


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path):
    """Where a run writes: a folder, and a bucket on a real S3 server (moto)."""
    if request.param == "folder":
        return open_store(tmp_path / "out")
    return open_store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def break_it(store, name, file="model.safetensors"):
    checkpoint = store.inside(name)
    checkpoint.replace(file, checkpoint.read(file)[:-9])


def names(store):
    return [name for name in store.names() if "step-" in name]


def files(checkpoint):
    return {name: checkpoint.store.read(name) for name in checkpoint.store.names()}


def test_step_1000000_is_newer_than_step_999000(settings, tmp_path):
    state, store = begin(settings), open_store(tmp_path)
    for step in (999_000, 1_000_000, 1_001_000):
        state.step = step
        state.snapshot("", {}, ALONE).publish(store)
    assert checkpoints(store) == ["step-999000", "step-1000000", "step-1001000"]
    assert newest(tmp_path).header.step == 1_001_000


def test_a_run_in_a_bucket_is_the_run_in_a_folder(settings, streams, tmp_path, s3):
    def stop(row):
        if row["step"] == 4:
            signal.raise_signal(signal.SIGINT)

    url = f"{s3}/{tmp_path.name}/deep"
    whole = fit(settings, streams, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        fit(settings, streams, url, progress=stop)
    assert fit(settings, streams, url) == f"{url}/step-000008"
    bucket = open_store(url)
    for name in checkpoints(url):
        ours, theirs = newest(tmp_path / "out" / name), newest(f"{url}/{name}")
        assert files(ours) == files(theirs)
    assert all(torch.equal(*pair) for pair in zip(*map(_values, (whole, url)), strict=True))
    rows = [json.loads(line) for line in bucket.read("metrics.jsonl").splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert LOCK not in bucket.names()


def _values(where):
    return [*load_model(where).state_dict().values()]


def test_broken_checkpoints_are_moved_aside_and_never_kept_for_good_ones(settings, streams, out):
    fit(settings, streams, str(out))
    whole = files(newest(out))
    # A broken one that is far ahead of all that this run will write.
    far = out.inside("step-000100")
    far.make()
    for name in out.inside("step-000006").names():
        far.replace(name, out.inside("step-000006").read(name))
    break_it(out, "step-000100")
    break_it(out, "step-000008", "optimizer.safetensors")
    fit(settings, streams, str(out))
    broken = ["broken-step-000008", "broken-step-000100"]
    assert names(out) == [*broken, "step-000006", "step-000008"]
    assert files(newest(out)) == whole


def test_what_was_cut_off_while_it_was_written_is_no_checkpoint(settings, streams, out):
    fit(settings, streams, str(out))
    whole = files(newest(out))
    out.inside("step-000008").delete(HEADER)
    assert newest(out).header.name == "step-000006"
    fit(settings, streams, str(out))
    assert names(out) == ["step-000006", "step-000008"]
    assert files(newest(out)) == whole


def test_no_good_checkpoint_ends_with_one_line_and_loses_nothing(settings, streams, tmp_path):
    out = open_store(tmp_path / "out")
    fit(settings, streams, str(out))
    for name in checkpoints(out):
        break_it(out, name, HEADER)
    lines, left = out.read("metrics.jsonl"), names(out)
    for _ in range(2):
        with pytest.raises(UserError, match=r"2 checkpoints \(step-000008 the newest\) and none"):
            fit(settings, streams, str(out))
    assert (out.read("metrics.jsonl"), names(out)) == (lines, left)
    fit(settings, streams, str(out), from_scratch=True)
    assert names(out) == ["broken-step-000006", "broken-step-000008", "step-000006", "step-000008"]


def test_a_run_goes_on_with_other_logs_and_with_data_elsewhere_and_with_nothing_else(
    settings, streams, tmp_path
):
    out = tmp_path / "out"
    fit(settings, streams, out)
    last = files(newest(out))

    def refused(match, settings=settings, streams=streams):
        with pytest.raises(UserError, match=match):
            fit(settings, streams, out)
        assert files(newest(out)) == last

    other = settings.model_dump() | {"clip": 0.5, "rate": {"warmup": 8}}
    refused(
        r"another recipe \(clip: 1.0 → 0.5; rate.warmup: 6 → 8\); give the settings of before",
        TrainSettings.model_validate(other),
    )
    # The same keys and kinds, another render.
    again = write_shard(tmp_path / "again", "text", 3, (30, 20), seed=2)
    refused(
        "on other samples than stream synthetic holds now", streams=streams | {"synthetic": again}
    )
    moved = shutil.move(streams["general"], tmp_path / "moved")
    logs = settings.model_copy(update={"log_every": 3, "checkpoint_every": 7})
    fit(logs, streams | {"general": moved}, out)
    assert files(newest(out)) == last


def test_an_output_of_something_else_is_refused_untouched(settings, streams, tmp_path):
    other = write_shard(tmp_path / "other", "photo", 1, (20, 20))
    with pytest.raises(UserError, match=r"other is not empty and holds no settings\.json"):
        fit(settings, streams, other)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file; give a folder"):
        fit(settings, streams, tmp_path / "file")
    assert LOCK not in open_store(other).names()


def test_an_output_that_another_run_uses_is_refused(settings, streams, out):
    def meddle(row):
        if row["step"] == 4:
            with pytest.raises(UserError, match="in use by process"):
                Lock(out).__enter__()

    fit(settings, streams, str(out), progress=meddle)
    assert LOCK not in out.names()


@pytest.mark.parametrize(
    ("number", "ends", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)],
)
def test_a_signal_ends_the_run_after_a_checkpoint(settings, streams, tmp_path, number, ends, code):
    def stop(row):
        if row["step"] == 4:
            signal.raise_signal(number)

    with pytest.raises(ends) as ended:
        fit(settings, streams, tmp_path / "out", progress=stop)
    assert getattr(ended.value, "code", None) == code
    assert newest(tmp_path / "out").verify().header.step == 4


def test_weights_that_are_not_finite_are_never_on_disk(settings, tmp_path):
    state = begin(settings)
    with torch.no_grad():
        state.model.decoder.head.conv.bias[0] = float("nan")
    snapshot = state.snapshot("", {}, ALONE)
    with pytest.raises(UserError, match=r"bias of model.safetensors is not finite after step 0"):
        snapshot.publish(open_store(tmp_path))
    assert not list(tmp_path.iterdir())


def test_only_the_first_rank_copies_a_checkpoint(settings, monkeypatch):
    state, second = begin(settings), Ranks()
    second.rank = 1
    monkeypatch.setattr("vae.training.state._copied", lambda _: pytest.fail("a copy for nobody"))
    assert state.snapshot("", {}, second) is None


def test_a_full_disk_ends_the_run_and_the_checkpoints_before_stay(
    settings, streams, tmp_path, monkeypatch
):
    from shards.store import Folder

    write, written = Folder.replace, []

    def full(self, name, data):
        if self.path.name == "step-000006" and name == "optimizer.safetensors":
            raise OSError(28, "No space left on device", name)
        written.append(name)
        write(self, name, data)

    whole = files(newest(fit(settings, streams, tmp_path / "whole")))
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            fit(settings, streams, tmp_path / "out")
    assert checkpoints(tmp_path / "out") == ["step-000003"]
    assert files(newest(fit(settings, streams, tmp_path / "out"))) == whole


def test_a_checkpoint_of_before_says_so(settings, streams, tmp_path):
    last = fit(settings, streams, tmp_path / "out")
    header = json.loads((last / HEADER).read_text())
    (last / HEADER).write_text(json.dumps(header | {"version": 2}))
    with pytest.raises(UserError, match=r"not a whole checkpoint \(state.json: version Input sho"):
        Checkpoint(open_store(last))


@pytest.mark.parametrize("as_given", [str, Path, open_store])
def test_weights_and_header_alone_are_enough_to_use_a_model(settings, tmp_path, caplog, as_given):
    settings = settings.model_copy(update={"average": 0.9})
    state, out = begin(settings), tmp_path / "run"
    state.step = 7
    state.average.begin(state.model)
    state.snapshot("", {}, ALONE).publish(open_store(out))
    step = out / "step-000007"
    whole = load_model(as_given(out)).state_dict()
    table = json.loads((step / HEADER).read_text())
    table["sha256"] |= {"optimizer.safetensors": "0" * 64}  # a file that was not published
    (step / HEADER).write_text(json.dumps(table))
    for place in (out, step):
        loaded = load_model(as_given(place)).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in whole.items())
    with pytest.raises(UserError, match="holds no good checkpoint"):
        newest(out)
    average = newest(out, to_train=False).digest
    (step / "average.safetensors").unlink()
    assert newest(out, to_train=False).digest != average
    load_model(as_given(out))
    assert "lacks average.safetensors: its weights of the last step stand in" in caplog.text
    begin_again = settings.model_copy(update={"init": str(out)})
    start_from(begin(begin_again).model, str(out), ALONE)


def test_files_of_different_checkpoints_are_one_line(settings, tmp_path):
    state = begin(settings)
    state.snapshot("", {}, ALONE).publish(open_store(tmp_path))
    header = tmp_path / "step-000000" / HEADER
    table = json.loads(header.read_text())
    for change, said in (
        ({"sha256": {}}, "names no model.safetensors"),
        ({"model": table["model"] | {"channels": 8}}, "weights are not those of the model in"),
    ):
        header.write_text(json.dumps(table | change))
        with pytest.raises(UserError, match=said) as caught:
            load_model(header.parent)
        assert "\n" not in str(caught.value)
