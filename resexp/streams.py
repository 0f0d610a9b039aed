"""Named random streams: the same (seed, name) gives the same numbers, independent of all other draws."""

import hashlib

import torch


def generator(seed: int, *name: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the stream `name` of a seed, independent of all other streams; on the CPU by default.

    It is seeded with 32 bits of the SHA-256 digest of (seed, *name); torch's CPU generator uses no more than 32 bits.
    """
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:4], "little"))
