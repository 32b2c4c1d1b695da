"""A way to a site's login host on which the far end dies in the middle of its first question."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from typing import Any

from deployment.minicluster.sshd import SshHost
from rrm.errors import SiteUnavailable
from rrm.launchers.connection import Target

_FAR = (
    "import sys,json;i=sys.stdin.buffer;n=int(i.readline());s=i.read(n).decode();r=json.loads(i.read());"
    "g={'__name__':'far'};exec(compile(s,'far','exec'),g);print(json.dumps(g['main'](r)))"
)


class Unsure:
    """Runs the far end as the account, and kills it `after` so many seconds."""

    def __init__(self, host: SshHost, target: Target, after: float) -> None:
        self.target = target
        self._account = pwd.getpwnam(host.account)
        self._environment = {**host.environment, "HOME": self._account.pw_dir}
        self._after = after

    def call(self, source: str, request: Any, timeout: float) -> Any:
        program = source.encode()
        running = subprocess.Popen(
            [self.target.python, "-I", "-c", _FAR],
            env=self._environment,
            cwd="/",
            user=self._account.pw_uid if os.geteuid() == 0 else None,
            group=self._account.pw_gid if os.geteuid() == 0 else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            told, _ = running.communicate(b"%d\n" % len(program) + program + json.dumps(request).encode(), self._after)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            raise SiteUnavailable("The far end died.") from None
        return json.loads(told)
