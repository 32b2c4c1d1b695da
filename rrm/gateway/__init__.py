"""Carries what a person sends to the node of their session, and what it answers, while both are still being sent.

`visit` is one such exchange. `targets`, `headers` and `parts` say what passes, and are pure; `sockets` reaches a node,
straight or through its site's SSH connection; `links` are HTTP connections that are used again; `exchange` carries a
request and `websocket` the other kind; `slots` bounds and counts them. Who may pass is decided elsewhere: a `Way` is a
permission.

Only the address of the Way is ever connected to. Credentials stay on their own side, and no redirect is followed.
"""

from rrm.gateway.exchange import forward
from rrm.gateway.visit import Visit, Way
from rrm.gateway.websocket import relay

__all__ = ["Visit", "Way", "forward", "relay"]
