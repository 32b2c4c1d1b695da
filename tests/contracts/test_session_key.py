"""What the manager sends to a node's session side is what the node asks for."""

from renderers.streaming.server import key_of
from rrm.farm.nodes import launch_token, session_key


def test_the_manager_and_a_node_compute_the_same_key() -> None:
    assert session_key("rrm-0123456789") == key_of(launch_token("rrm-0123456789"))
