from django.apps import AppConfig


class FarmConfig(AppConfig):
    name = "rrm.farm"
    label = "farm"
    verbose_name = "Rendering farm"
