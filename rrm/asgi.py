"""The ASGI application: one process serves the API, the pages, the streams and the nodes."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")

from django.core.asgi import get_asgi_application

from rrm.api.limits import BodyLimit

application = BodyLimit(get_asgi_application())
