"""RRM's settings for a test run: a data folder of its own, whatever the developer's environment says.

DATABASE_URL is honoured, so that the same tests run on PostgreSQL; without it they run on a SQLite file.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

for _name in [name for name in os.environ if name.startswith("RRM_")] + ["REDIS_URL"]:
    os.environ.pop(_name, None)
os.environ["RRM_DATA"] = tempfile.mkdtemp(prefix="rrm-tests-")
atexit.register(shutil.rmtree, os.environ["RRM_DATA"], ignore_errors=True)

from rrm.settings import *  # noqa: E402, F403 - the environment must be set first
from rrm.settings import DATABASES, RRM  # noqa: E402

if "sqlite" in str(DATABASES["default"]["ENGINE"]):
    # A file as in real life: a database in memory has other locks, and threads would share one connection.
    DATABASES["default"]["TEST"] = {"NAME": str(RRM.data_dir / "test.sqlite3")}

# Logging in is not what most tests are about.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Every client of a test has middleware of its own, which would look at all static files once more.
WHITENOISE_AUTOREFRESH = True
