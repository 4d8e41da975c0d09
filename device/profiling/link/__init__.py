"""The link to the server, measured against a peer: throughput, round trips, and both ends of it."""

from slfac.device.profiling.link.client import Moved, PeerLink
from slfac.device.profiling.link.counts import Counts
from slfac.device.profiling.link.measure import LinkMeasured, SizeMeasured, measure_link
from slfac.device.profiling.link.peer import Peer
from slfac.device.profiling.link.route import Route, route_to

__all__ = [
    "Counts",
    "LinkMeasured",
    "Moved",
    "Peer",
    "PeerLink",
    "Route",
    "SizeMeasured",
    "measure_link",
    "route_to",
]
