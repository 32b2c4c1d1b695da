"""The far end of a launcher, run on this machine without SSH; it can be made to die in the middle of a question."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pwd import struct_passwd
from typing import Any

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.connection import Target

_FAR = (
    "import sys,json;i=sys.stdin.buffer;n=int(i.readline());s=i.read(n).decode();r=json.loads(i.read());"
    "g={'__name__':'far'};exec(compile(s,'far','exec'),g);print(json.dumps(g['main'](r)))"
)


class FarEnd:
    """Stands where a `Connection` stands; its programs run as `account`, and are killed `after` so many seconds."""

    def __init__(
        self,
        target: Target,
        environment: Mapping[str, str],
        *,
        account: struct_passwd | None = None,
        after: float | None = None,
    ) -> None:
        self.target = target
        self._environment = environment
        self._account = account
        self._after = after

    def call(self, source: str, request: Any, timeout: float) -> Any:
        program = source.encode()
        asked = b"%d\n" % len(program) + program + json.dumps(request).encode()
        with subprocess.Popen(
            [self.target.python, "-I", "-c", _FAR],
            env=self._environment,
            cwd="/",
            user=self._account and self._account.pw_uid,
            group=self._account and self._account.pw_gid,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as running:
            try:
                told, _ = running.communicate(asked, self._after or timeout)
            except subprocess.TimeoutExpired:
                running.kill()
                running.communicate()
                raise SiteUnavailable("The far end died.") from None
        if running.returncode:
            raise LauncherError("The far end failed.")
        return json.loads(told)
