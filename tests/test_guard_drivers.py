"""Which driver asks whether a URL serves."""

from __future__ import annotations

import sys

import kombu
import pytest

from resilient import clients


def test_a_driver_that_puts_an_object_in_the_place_of_its_module_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As kombu does, once it is imported: that has no spec."""
    assert kombu.__spec__ is None
    monkeypatch.setitem(clients.DRIVERS, "amqp", (("kombu", "kombu"),))
    found = clients.driver_for("amqp")
    assert found is not None
    assert found.__name__ == "resilient.clients.kombu"


def test_a_driver_that_is_not_to_be_imported_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pika", None)
    monkeypatch.setitem(clients.DRIVERS, "amqp", (("pika", "pika"),))
    assert clients.driver_for("amqp") is None
