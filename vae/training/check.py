"""What is wrong with a run, found before its first step and before anything is written.

Settings refuse by themselves what they alone tell (vae/training/settings.py), and so do streams
that cannot be opened and curricula that find no image large enough. Here is what they tell
together.
"""

from collections.abc import Collection, Mapping

from shards import UserError
from shards.store import Folder, Places, Store, Where, each_of, open_store
from vae.curriculum.curriculum import Curriculum
from vae.data.batches import Readers
from vae.data.unindexed import Unindexed, is_unindexed
from vae.training.plan import epochs
from vae.training.settings import TrainSettings


def check(
    settings: TrainSettings,
    curriculum: Curriculum,
    streams: Collection[str],
    readers: Readers,
    world: int,
) -> None:
    """Refuse a run of `world` ranks that would fail later, or not be what was meant.

    `streams` are the names of those given, `readers` those that are drawn from. Reads no image and
    no weights.

    Raises:
        UserError: with the first fault.
    """
    curriculum.check_world(world)
    unused = sorted({*streams} - {*curriculum.streams})
    if unused:
        raise UserError(
            f"no stage draws from {', '.join(unused)}; the stages draw from "
            f"{', '.join(curriculum.streams)}; leave the stream out or give it a share"
        )
    if settings.max_epochs is not None:
        for name, times in epochs(curriculum).items():
            if not isinstance(readers[name], Unindexed) and times > settings.max_epochs:
                raise UserError(
                    f"stream {name}: an image would be seen {times:.2f} times, more than "
                    f"max_epochs={settings.max_epochs:g}; give more images, draw fewer samples "
                    "or raise max_epochs"
                )
    vgg = settings.vgg
    if vgg is not None and settings.largest_weights().lpips and not vgg.is_file():
        raise UserError(f"vgg={vgg} is no file; give VGG16 of torchvision, or leave it out")


def check_apart(out: Where, read: Mapping[str, Places]) -> None:
    """Refuse to write among what is read.

    Raises:
        UserError: when `out` is, or lies in, one of the folders or buckets that are `read`.
    """
    for name, places in read.items():
        for where in each_of(places):
            if not is_unindexed(where) and _lies_in(open_store(out), open_store(where)):
                raise UserError(
                    f"--out {out} lies in {name}={where}, which the run reads; give a folder of "
                    "its own"
                )


def _lies_in(store: Store, other: Store) -> bool:
    if isinstance(store, Folder) and isinstance(other, Folder):
        return store.path.resolve().is_relative_to(other.path.resolve())
    return f"{store}/".startswith(f"{other}/")
