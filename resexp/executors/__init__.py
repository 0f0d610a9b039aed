"""Execution of stacks: in processes of this machine, or on a Ray cluster."""

from resexp.executors.cluster import Cluster
from resexp.executors.experiment import bring_up_to_date, train_here, train_stacks, training
from resexp.executors.pool import Pool
from resexp.executors.workers import STOP_SIGNALS, OutOfMemoryError, cores
