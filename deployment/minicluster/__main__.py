"""python -m deployment.minicluster start|stop|status|run [--folder DIR] [--nodes N] [--hosts N]"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deployment.minicluster import farm
from deployment.minicluster.cluster import MiniCluster
from deployment.minicluster.daemons import CannotStart

_FOLDER = Path("/var/tmp/rrm-minicluster")  # noqa: S108 - the accounts must reach it; it is made for root alone to write


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployment.minicluster", description=__doc__)
    parser.add_argument("deed", choices=("start", "stop", "status", "run"))
    parser.add_argument("--folder", type=Path, default=_FOLDER, help=f"where it lies ({_FOLDER})")
    parser.add_argument("--nodes", type=int, default=2, help="Slurm nodes (2)")
    parser.add_argument("--hosts", type=int, default=2, help="plain SSH hosts (2)")
    options = parser.parse_args(arguments)
    cluster = MiniCluster.at(options.folder.resolve(), nodes=options.nodes, hosts=options.hosts)
    try:
        if options.deed == "run":
            return farm.run(cluster)
        if options.deed == "start":
            cluster.start()
        elif options.deed == "stop":
            cluster.stop()
            return 0
    except CannotStart as reason:
        print(reason, file=sys.stderr)
        return 1
    if not cluster.is_running:
        print("It is not running.", file=sys.stderr)
        return 3
    print(json.dumps(cluster.described(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
