"""Several threads that do something to one database at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection


def in_threads(*deeds: Callable[[], object]) -> list[object]:
    """What each came to: its answer, or what it raised."""
    outcomes: list[object] = []

    def run(deed: Callable[[], object]) -> None:
        try:
            outcomes.append(deed())
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
