"""Where stacks run: processes of this machine, or a Ray cluster."""

from resexp.executors.cluster import Cluster
from resexp.executors.dispatch import Places, of_shard, train_here, train_stacks
from resexp.executors.machine import cores
from resexp.executors.pool import Pool, survey, time_arms
from resexp.executors.workers import STOPPING, OutOfMemoryError

__all__ = [
    "STOPPING",
    "Cluster",
    "OutOfMemoryError",
    "Places",
    "Pool",
    "cores",
    "of_shard",
    "survey",
    "time_arms",
    "train_here",
    "train_stacks",
]
