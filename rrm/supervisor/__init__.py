"""Starts the processes of the embedded mode, keeps them alive and ends them all.

Generic, knowing nothing of RRM: `processes` finds processes by their environment and ends them; `children` starts one;
`table` is the policy (order, back-off, restart, stop); `guard` cleans up when the supervisor itself is killed; `logs`
keeps log files small. RRM's own: `embedded` names its processes, `web` is one of them, `program` is the main loop.
"""
