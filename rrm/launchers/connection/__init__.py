"""One SSH connection for each site and process, and what travels on it: commands, files, streams both ways.

`target` says where a site is and how to get in, `transport` gets in, `circuit` decides when it is worth trying,
`command` runs one command on a channel, `forward` carries streams, `relay` lets others in where a host does not, and
`connection` puts them together. Nothing else in
RRM knows paramiko. Whatever goes wrong is a SiteUnavailable whose sentence says what to do about it.
"""

from rrm.launchers.connection.command import Completed
from rrm.launchers.connection.connection import Connection, Traffic, connection_to
from rrm.launchers.connection.forward import Forward
from rrm.launchers.connection.relay import REACHES, Relay
from rrm.launchers.connection.target import Target, fingerprint, way_in
from rrm.launchers.connection.transport import fetch_host_key

__all__ = [
    "REACHES",
    "Completed",
    "Connection",
    "Forward",
    "Relay",
    "Target",
    "Traffic",
    "connection_to",
    "fetch_host_key",
    "fingerprint",
    "way_in",
]
