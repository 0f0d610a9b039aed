"""How many processes this machine has room for."""

import os
import sys

VARIABLES = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of two trainings on two cores take a hundred times as long
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
}


def set_variables() -> None:
    """What processes that train inherit; what the user has set stands."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def jobs_for(plan_threads: int, asked: int | None, device: str) -> int:
    """Processes to train in: as many as cores allow, one for an accelerator; jobs x threads never exceeds the cores."""
    allowed = max(1, cores() // plan_threads)
    if asked is None:
        return allowed if device == "cpu" else 1
    return min(asked, allowed) if device == "cpu" else asked
