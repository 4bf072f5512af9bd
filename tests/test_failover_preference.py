"""Told to go back: a preferred endpoint is left when it has refused and not before, and no late success undoes it."""

from __future__ import annotations

from drivers import QUIET, Driver, on_every_driver, refusal
from test_failover_hostile import A, B, C, Cluster, breakers, tripped

from resilient import Endpoint, Targets, retry_on_refused
from resilient.testing import FakeClock


@on_every_driver
def test_who_is_passed_on_while_a_preferred_endpoint_is_probed_does_not_undo_the_preference(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """Under load, one call finds out whether the primary is back; the standby serves all others meanwhile."""
    circuits, targets, cluster = tripped(A), Targets(A, B), Cluster(A, B)
    fake_clock.advance(10)
    connect = driver.protect_at(cluster, policy=QUIET, targets=targets, breaker=circuits)
    probe = circuits[A].admit()
    targets.prefer(A)
    assert driver.run(connect) == str(B)
    circuits[A].settle(probe, "success")
    assert targets.current == A
    assert driver.run(connect) == str(A)


@on_every_driver
def test_a_preference_is_left_when_its_endpoint_has_refused(driver: Driver, fake_clock: FakeClock) -> None:
    """And not before."""
    circuits, targets, cluster = breakers(), Targets(A, B), Cluster(B)
    targets.prefer(A)
    connect = driver.protect_at(cluster, policy=QUIET, targets=targets, breaker=circuits)
    assert [driver.run(connect), targets.current] == [str(B), B]
    cluster.up.add(A)
    fake_clock.advance(100)
    assert driver.run(connect) == str(B)
    assert cluster.tried == [A, B, B]


@on_every_driver
def test_a_call_that_was_under_way_does_not_undo_a_preference(driver: Driver, fake_clock: FakeClock) -> None:
    """It was refused by the primary before somebody said that the primary is back."""
    targets, tried = Targets(A, B), list[Endpoint]()

    def connect(endpoint: Endpoint) -> str:
        tried.append(endpoint)
        if tried == [A]:
            raise refusal()
        if tried == [A, B]:
            targets.prefer(A)
        return str(endpoint)

    protected = driver.protect_at(connect, policy=QUIET, targets=targets, breaker=breakers(trip_after=5))
    assert [driver.run(protected), driver.run(protected)] == [str(B), str(A)]
    assert targets.current == A


@on_every_driver
def test_a_call_from_before_a_preference_does_not_bring_back_one_that_was_left_since(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """The preferred endpoint has refused another call, which has led all to a third."""
    targets, tried, others = Targets(A, B, C), list[Endpoint](), Cluster(B)
    circuits = breakers(trip_after=5)
    other = retry_on_refused(others, policy=QUIET, targets=targets, breaker=circuits)

    def connect(endpoint: Endpoint) -> str:
        tried.append(endpoint)
        if endpoint == B:
            targets.prefer(A)
            other()
        if endpoint != C:
            raise refusal()
        return str(endpoint)

    protected = driver.protect_at(connect, policy=QUIET, targets=targets, breaker=circuits)
    assert driver.run(protected) == str(C)
    assert (tried, others.tried, targets.current) == ([A, B, C], [A, B], B)


@on_every_driver
def test_a_late_success_where_nobody_begins_any_more_leads_nobody_back(driver: Driver, fake_clock: FakeClock) -> None:
    """Others have moved on meanwhile, and this call has not seen their endpoint fail."""
    targets, tried, others = Targets(A, B), list[Endpoint](), Cluster(B)
    circuits = breakers(trip_after=5)
    other = retry_on_refused(others, policy=QUIET, targets=targets, breaker=circuits)

    def connect(endpoint: Endpoint) -> str:
        tried.append(endpoint)
        if len(tried) <= 2:
            raise refusal()
        if len(tried) == 3:
            other()
        return str(endpoint)

    protected = driver.protect_at(connect, policy=QUIET, targets=targets, breaker=circuits)
    assert driver.run(protected) == str(A)
    assert (tried, others.tried, targets.current) == ([A, B, A], [A, B], B)
