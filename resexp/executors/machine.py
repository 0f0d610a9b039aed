"""Number of processes and environment variables for training on this machine."""

import os
import sys

VARIABLES = {
    "OMP_WAIT_POLICY": "PASSIVE",  # with active waiting, two trainings on two cores take a hundred times as long
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
}


def set_variables() -> None:
    """Sets the variables that training processes inherit, unless the user has set them."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def jobs_for(plan_threads: int, requested: int | None, device: str) -> int:
    """Number of training processes, by default as many as the cores allow, or one on an accelerator.

    On a CPU, jobs x threads never exceeds the number of cores, except with a single job.
    """
    maximum = max(1, cores() // plan_threads)
    if requested is None:
        return maximum if device == "cpu" else 1
    return min(requested, maximum) if device == "cpu" else requested
