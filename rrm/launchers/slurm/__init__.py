"""Nodes as jobs of a Slurm cluster that is reached over SSH.

Here: `script` writes batch scripts with the options of `directives`, `launcher` has the contract of
`rrm.launchers.base`, `sharing` keeps the number of questions down. At the login host, carried there with each
question: `site` answers it, `submitting`, `surveying` and `cancelling` do it, `folder` is a node's folder, `commands`
runs Slurm's programs, `answers`, `states` and `reasons` understand them.

A node is a job whose name is the node's and whose comment names this installation of RRM. Jobs of others are not
touched, a job is submitted once whatever breaks, and one is gone only when there is a witness of its end.
"""

from rrm.launchers.slurm.launcher import POLL_INTERVAL, SlurmLauncher, members

__all__ = ["POLL_INTERVAL", "SlurmLauncher", "members"]
