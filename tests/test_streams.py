"""Random draws by name."""

import hashlib

import pytest
import torch

from resexp.streams import generator


def numbers(seed: int, *name: str | int) -> list[float]:
    return torch.rand(4, generator=generator(seed, *name)).tolist()


def test_drawing_by_name_leaves_torchs_own_random_state_alone():
    before = torch.get_rng_state()
    numbers(0, "order", 3)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [(), ("order", 3), ("parameter", "blocks.0.branch.layer1.weight")])
def test_a_name_gives_the_same_numbers_whatever_was_drawn_before(name):
    first = numbers(0, *name)
    torch.manual_seed(99)
    torch.rand(7)
    numbers(0, "something", "else")

    assert numbers(0, *name) == first


def test_every_seed_and_every_name_has_numbers_of_its_own():
    """Names that look alike when pasted together are different names."""
    alike = [
        (0,),
        (1,),
        (0, "a"),
        (0, "b"),
        (0, "a", "b"),
        (0, "ab"),
        (0, "a, b"),
        (0, 1),
        (0, "1"),
        (0, 11),
        (0, 1, 1),
        (1, 0),
    ]

    assert len({tuple(numbers(*name)) for name in alike}) == len(alike)


@pytest.mark.parametrize(
    ("seed", "name", "written"),
    [(0, (), "(0,)"), (3, ("order", 2), "(3, 'order', 2)"), (12, ("augment", 400), "(12, 'augment', 400)")],
)
def test_the_seed_is_the_first_four_bytes_of_sha256_over_the_written_name(seed, name, written):
    four_bytes = bytes.fromhex(hashlib.sha256(written.encode()).hexdigest()[:8])
    by_hand = sum(byte * 256**place for place, byte in enumerate(four_bytes))

    assert generator(seed, *name).initial_seed() == by_hand
