"""A Slurm cluster and SSH hosts on the loopback of one machine: real daemons, without systemd, for trying and tests.

    python -m deployment.minicluster start|stop|status|run

`daemons` starts and stops processes that detach themselves, `sshd` is one SSH host, `slurm` one Slurm cluster, and
`cluster` puts them together in one folder, `farm` tells RRM of it. Debian's packages openssh-server, munge, slurmctld,
slurmd and slurm-client have the programs.
"""
