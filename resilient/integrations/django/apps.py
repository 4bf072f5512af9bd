"""The app: its command, and its system check."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from ._checks import check_settings


class ResilientConfig(AppConfig):
    """What `INSTALLED_APPS += ["resilient.integrations.django"]` adds: no models, no migrations."""

    name = "resilient.integrations.django"
    label = "resilient"

    def ready(self) -> None:
        """Register the check."""
        register(check_settings, "resilient")
