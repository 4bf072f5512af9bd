"""The extras of the distribution: every one that a message names is there, and brings what the message says."""

from __future__ import annotations

import logging
import re
from importlib import metadata
from pathlib import Path

import pytest
from pages import section

import resilient
import resilient.testing
from resilient import waiting
from resilient.clients import DRIVERS, redis
from resilient.clients._extras import EXTRAS, how_to_install

DISTRIBUTION = "resilient-connect"
DISTRIBUTIONS = {"MySQLdb": "mysqlclient", "nats": "nats-py", "psycopg2": "psycopg2-binary"}
NAMED = re.compile(r"resilient-connect\[(\w+)\]")


def provided() -> set[str]:
    return set(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())


def brought_by(extra: str) -> set[str]:
    """The distributions that an extra installs."""
    lines = metadata.requires(DISTRIBUTION) or []
    named = [re.match(r"[\w.-]+", line) for line in lines if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    return {found[0].lower().replace("_", "-") for found in named if found is not None}


def test_every_extra_that_the_code_names_exists() -> None:
    root = Path(resilient.__file__).parent
    named = {extra for path in root.rglob("*.py") for extra in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert {"demo", "redis"} <= named
    assert named <= provided()


@pytest.mark.parametrize("scheme", DRIVERS)
def test_the_extra_for_a_scheme_brings_a_driver_for_it(scheme: str) -> None:
    """Most drivers are imported by the name of their distribution."""
    named = NAMED.search(how_to_install(scheme))
    assert named is not None
    assert named[1] in provided()
    drivers = {DISTRIBUTIONS.get(driver, driver).replace("_", "-") for driver, _ in DRIVERS[scheme]}
    assert brought_by(named[1]) & drivers


def test_no_scheme_has_an_extra_without_a_driver() -> None:
    assert set(EXTRAS) == set(DRIVERS)
    assert how_to_install("zookeeper") == ""


def test_the_page_has_all_extras() -> None:
    (table,) = section("Extras", page="docs/install.md").tables
    assert {cell.strip("`") for cell in table.column("extra")} == provided()
    for extra, brings, _ in table.rows:
        assert set(re.findall(r"`([^`]+)`", brings)) == brought_by(extra.strip("`")), extra


def test_waiting_without_a_driver_says_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "driver_for", lambda _: None)
    with resilient.testing.late_server(after=0) as server, caplog.at_level(logging.WARNING, "resilient"):
        resilient.wait_for(f"mongodb://{server.target}", timeout=10)
    assert 'no driver for it is installed (pip install "resilient-connect[mongodb]")' in caplog.text


def test_asking_redis_without_a_client_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", _absent)
    with pytest.raises(ImportError, match=r'pip install "resilient-connect\[redis\]"'):
        redis.serves("redis://cache", 1.0)


def _absent(name: str) -> None:
    raise ImportError(name)
