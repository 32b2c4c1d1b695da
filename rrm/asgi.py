"""The ASGI application: one process serves the API, the pages, the streams and the nodes."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")

from django.core.asgi import get_asgi_application  # noqa: E402 - the settings module must be named first

from rrm.api.limits import BodyLimit  # noqa: E402

application = BodyLimit(get_asgi_application())
