"""Random draws by name: the same (seed, name) gives the same numbers, whatever was drawn before or elsewhere."""

import hashlib

import torch


def generator(seed: int, *name: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the draw that `name` names, independent of every other name; on the CPU unless asked otherwise.

    Its state is seeded with 32 bits of SHA-256 over (seed, *name), which is all that torch's CPU generator keeps.
    """
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:4], "little"))
