"""Execution of stacks: in processes of this machine, or on a Ray cluster."""

from resexp.executors.cluster import Cluster
from resexp.executors.dispatch import Executor, shard_stacks, train_here, train_stacks
from resexp.executors.machine import cores
from resexp.executors.pool import Pool, initial_diagnostics, time_arms
from resexp.executors.workers import STOP_SIGNALS, OutOfMemoryError

__all__ = [
    "STOP_SIGNALS",
    "Cluster",
    "Executor",
    "OutOfMemoryError",
    "Pool",
    "cores",
    "initial_diagnostics",
    "shard_stacks",
    "time_arms",
    "train_here",
    "train_stacks",
]
