"""Which checkpoints stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae import PRESETS
from vae.training.checkpoint import Header
from vae.training.retention import CheckpointSettings, kept


def header(step, n, **scores):
    return Header(
        step=step,
        n=n,
        model=PRESETS["nano"],
        recipe="r",
        streams={},
        drawn="",
        balance={},
        guard={},
        latent_mean=[],
        latent_std=[],
        scores={name.replace("_", "."): score for name, score in scores.items()},
    )


HEADERS = [header(k, 40 * k, pages_psnr=20 - abs(k - 3), pages_l1=abs(k - 2)) for k in range(1, 9)]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"keep": 1}, [8]),
        ({"keep": 3}, [6, 7, 8]),
        ({"keep": 1, "keep_every": 100}, [3, 5, 8]),
        ({"keep": 1, "keep_best": "pages.psnr"}, [3, 8]),
        ({"keep": 1, "keep_best": "pages.l1"}, [2, 8]),
        ({"keep": 1, "keep_best": "photos.l1"}, [8]),
        ({"keep": 20}, [*range(1, 9)]),
    ],
)
def test_the_newest_every_kth_and_the_best_stay(settings, steps):
    stay = kept(HEADERS, CheckpointSettings(**settings))
    assert stay == {f"step-{step:06d}" for step in steps}


@given(st.lists(st.integers(1, 300), min_size=1), st.integers(1, 3), st.integers(0, 200))
def test_what_stays_is_the_same_however_often_one_looks(gaps, keep, keep_every):
    settings, n = CheckpointSettings(keep=keep, keep_every=keep_every), 0
    headers, always = [], []
    for step, gap in enumerate(gaps, 1):
        n += gap
        always.append(header(step, n))
        headers = [*headers, always[-1]]
        headers = [one for one in headers if one.name in kept(headers, settings)]
    assert {one.name for one in headers} == kept(always, settings)
