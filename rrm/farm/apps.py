from importlib import import_module

from django.apps import AppConfig


class FarmConfig(AppConfig):
    name = "rrm.farm"
    label = "farm"
    verbose_name = "Rendering farm"

    def ready(self) -> None:
        import_module("rrm.celery")  # so that tasks sent by name go to our broker from every process
