import torch

from vae.training.means import Means

GOOD, BAD = torch.tensor(0.0), torch.tensor(1.0)


def test_means_are_those_of_the_good_steps_since_the_last_time():
    means = Means()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(8.0)}, GOOD)
    means.add({"a": torch.tensor(torch.nan)}, BAD)
    means.add({"a": torch.tensor(3.0)}, GOOD)
    assert means.read() == {"a": 2.0, "b": 8.0}
    means.add({"a": torch.tensor(5.0)}, BAD)
    assert means.read() == {}
    assert means.read() == {}
