"""A Ray cluster, as far as codecard needs one: its nodes and actors pinned to them. ray is imported when one is opened.

Ray places nothing and restarts nothing here: the driver's journal is the only state, so whoever holds a row when its
node dies simply has not finished it. See `pool` for how the rows move.
"""

from __future__ import annotations

from codecard.cluster.feeder import Feeder
from codecard.cluster.nodes import Cluster, Node, Workers, parse_workers
from codecard.cluster.pool import Crew, Pool, Source

__all__ = ["Cluster", "Crew", "Feeder", "Node", "Pool", "Source", "Workers", "parse_workers"]
