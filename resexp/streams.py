"""Random draws by name: the same (seed, name) gives the same numbers, whatever was drawn before or elsewhere."""

import hashlib

import torch


def generator(seed: int, *name: str | int) -> torch.Generator:
    """A CPU generator for the draw that `name` names, independent of every other name and of the device in use.

    Its state is seeded with 32 bits of SHA-256 over (seed, *name), which is all that torch's CPU generator keeps.
    """
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
