"""Where cohorts run: processes of this machine, or a Ray cluster."""

from resexp.executors.cluster import Cluster
from resexp.executors.cohorts import Places, of_shard, train_cohorts, train_here
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
    "train_cohorts",
    "train_here",
]
