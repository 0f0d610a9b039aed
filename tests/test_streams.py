"""Named random streams."""

import hashlib

import pytest
import torch

from resexp.streams import generator


def numbers(seed: int, *name: str | int) -> list[float]:
    return torch.rand(4, generator=generator(seed, *name)).tolist()


def test_named_streams_do_not_change_the_global_random_state_of_torch():
    before = torch.get_rng_state()
    numbers(0, "order", 3)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [(), ("order", 3), ("parameter", "blocks.0.branch.layer1.weight")])
def test_a_stream_does_not_depend_on_previous_draws(name):
    first = numbers(0, *name)
    torch.manual_seed(99)
    torch.rand(7)
    numbers(0, "something", "else")

    assert numbers(0, *name) == first


def test_different_seeds_and_names_give_different_numbers():
    """Names whose concatenations are equal are different names."""
    streams = [
        (0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (0, "a, b"), (0, 1), (0, "1"), (0, 11), (0, 1, 1), (1, 0),
    ]  # fmt: skip

    assert len({tuple(numbers(*name)) for name in streams}) == len(streams)


@pytest.mark.parametrize(
    ("seed", "name", "text"),
    [(0, (), "(0,)"), (3, ("order", 2), "(3, 'order', 2)"), (12, ("augment", 400), "(12, 'augment', 400)")],
)
def test_the_seed_is_the_first_four_bytes_of_the_sha256_digest_of_seed_and_name(seed, name, text):
    four_bytes = bytes.fromhex(hashlib.sha256(text.encode()).hexdigest()[:8])
    expected = sum(byte * 256**position for position, byte in enumerate(four_bytes))

    assert generator(seed, *name).initial_seed() == expected
