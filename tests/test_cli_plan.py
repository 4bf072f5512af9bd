"""`resilient plan`: the schedule of a policy, drawn; and what it comes to, in numbers that are true."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import pytest
from command_line import Terminal, reference, run, screen_of, written

from resilient import Policy
from resilient.cli._expected import bounds, expect
from resilient.cli.plan import run as plan


def sheet(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert plan(arguments) == 0
    return capsys.readouterr().out


def numbers(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    return json.loads(sheet(capsys, *arguments, "--json"))  # type: ignore[no-any-return]


def wrong(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        plan(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


# What is read


def test_nothing_is_the_default_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert numbers(capsys)["policy"] == str(Policy())


@pytest.mark.parametrize("name", ["startup", "request", "background"])
def test_a_preset_is_read_by_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert numbers(capsys, name)["policy"] == str(getattr(Policy, name)())


def test_a_text_may_stand_in_quotes_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    text = "attempts=8 deadline=30s backoff=50ms..5s jitter=full"
    assert numbers(capsys, text)["policy"] == numbers(capsys, *text.split())["policy"] == str(Policy.parse(text))


def test_a_variable_holds_a_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_RETRY", "attempts=3")
    assert numbers(capsys, "env:DB_RETRY")["attempts"] == 3
    assert numbers(capsys, "--env", "DB")["attempts"] == 3


def test_what_cannot_be_read_is_2_and_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_RETRY", "s3cr3t")
    monkeypatch.delenv("NO_RETRY", raising=False)
    assert "the presets are startup, request, background" in wrong(capsys, "strtup")
    assert "attempts must be a whole number" in wrong(capsys, "attempts=x")
    assert "not both" in wrong(capsys, "startup", "--env", "DB")
    assert "NO_RETRY is not set" in wrong(capsys, "--env", "NO")
    assert "NO_RETRY is not set" in wrong(capsys, "env:NO_RETRY")
    assert "--clients" in wrong(capsys, "--clients", "0")
    assert "prefix must be" in wrong(capsys, "--env", "a b")
    for arguments in (["env:DB_RETRY"], ["--env", "DB"]):
        said = wrong(capsys, *arguments)
        assert "environment variable DB_RETRY is not a policy" in said
        assert "s3cr3t" not in said


# What is shown


def test_the_same_seed_draws_the_same_delays(capsys: pytest.CaptureFixture[str]) -> None:
    assert sheet(capsys, "--seed", "7") == sheet(capsys, "--seed", "7") != sheet(capsys, "--seed", "8")
    delays = [row["delay"] for row in numbers(capsys, "attempts=5", "--seed", "7")["delays"]]
    assert delays == [round(delay, 6) for delay in Policy(attempts=5).schedule(10, seed=7)]


def test_the_table_says_when_each_attempt_is(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sheet(capsys, "attempts=4 backoff=1s..4s jitter=none")
    rows = re.findall(r"^ {5,}(\d) +(\S+ m?s|-) +(\S+ m?s)", shown, re.MULTILINE)
    assert rows == [("1", "-", "0 ms"), ("2", "1.00 s", "1.00 s"), ("3", "2.00 s", "3.00 s"), ("4", "4.00 s", "7.00 s")]
    assert "then it gives up: 4 attempts" in shown


def test_bars_are_as_long_as_the_delays(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sheet(capsys, "attempts=4 backoff=1s..4s jitter=none")
    bars = [len(bar) for bar in re.findall(r"(#+)$", shown, re.MULTILINE)]
    assert bars[2] == pytest.approx(2 * bars[1], abs=1) == pytest.approx(4 * bars[0], abs=2)


def test_a_long_table_is_cut_in_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (1, 2, 3, 12, 50):
        shown = sheet(capsys, "--rows", str(count))
        assert len(re.findall(r"^ {3,}\d+ +[\d.]+ m?s", shown, re.MULTILINE)) in (count - 1, count)
        assert "then it gives up: the deadline of 60 s" in shown
    assert "    ..." in sheet(capsys, "--rows", "5")
    assert "    ..." not in sheet(capsys, "--rows", "500")


@pytest.mark.parametrize(
    "text",
    [
        *["startup", "request", "background", "attempts=1", "attempts=2", "backoff=0s..0s", "deadline=none"],
        *["attempts=3 backoff=0s..0s", "backoff=1ms..1ms", "deadline=48h", "deadline=1ms", "jitter=decorrelated"],
        *["attempts=none deadline=none backoff=1h..5h", "backoff=1ms..1ms attempts=100000 deadline=none", "factor=1"],
    ],
)
def test_every_policy_fits_a_terminal_and_a_json_reader(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = sheet(capsys, text, "--seed", "1", "--clients", "50").splitlines()
    assert max(map(len, lines[1:])) <= 80  # the first is the policy's own text
    assert not re.search("nan|inf", " ".join(lines))
    assert numbers(capsys, text)["expected"].keys() >= {"wait", "attempts"}


def test_a_policy_without_end_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sheet(capsys, "background")
    assert "and so on" in shown
    assert re.search(r"gives up +never", shown)
    assert numbers(capsys, "background")["complete"] is False


# What is to be expected


@pytest.mark.parametrize(
    ("jitter", "share"), [("none", 1 / 2), ("full", 1 / 3), ("equal", 7 / 18)], ids=["none", "full", "equal"]
)
def test_the_wait_after_a_comeback_is_the_known_share_of_the_cap(jitter: str, share: float) -> None:
    """Half the mean square over the mean of a delay."""
    assert expect(Policy.parse(f"jitter={jitter} backoff=50ms..2s")).wait == pytest.approx(2 * share, rel=0.01)


@pytest.mark.parametrize("text", ["deadline=none", "deadline=none jitter=decorrelated", "deadline=none jitter=full"])
def test_the_wait_is_what_random_moments_meet(text: str) -> None:
    """Against a count: the service comes back at a random moment late in the outage."""
    policy, dice = Policy.parse(text), random.Random(5)
    attempts = list(itertools.accumulate(policy.schedule(4000, seed=5)))
    waits = []
    for _ in range(4000):
        moment = dice.uniform(attempts[100], attempts[-1])
        waits.append(min(at for at in attempts[:1] + attempts if at >= moment) - moment)
    assert expect(policy).wait == pytest.approx(sum(waits) / len(waits), rel=0.06)


def test_connects_of_a_crowd_are_counted() -> None:
    expected = expect(Policy.startup())
    assert expected.first_minute is not None
    assert 80 <= expected.first_minute <= 90
    fixed = expect(Policy.parse("deadline=none backoff=1s..1s jitter=none"))
    assert (fixed.first_minute, fixed.each_minute) == (60, pytest.approx(60))


def test_a_policy_that_ends_before_its_delays_have_grown_is_not_measured_by_its_cap() -> None:
    expected = expect(Policy.request())
    assert expected.wait is not None
    assert expected.wait < 0.05
    assert expected.attempts == 3
    assert expect(Policy(attempts=1)).wait is None


def test_the_end_is_foretold() -> None:
    assert expect(Policy(deadline=30)).gives_up_after == pytest.approx(30)
    assert expect(Policy(attempts=3, deadline=None)).attempts == 3
    assert expect(Policy.background()).gives_up_after is None
    long = expect(Policy(deadline=172_800))
    assert long.gives_up_after == 172_800
    assert long.attempts == pytest.approx(172_800 / 0.75, rel=0.01)


@pytest.mark.parametrize("jitter", ["none", "full", "equal", "decorrelated"])
def test_the_bounds_hold(jitter: str) -> None:
    policy = Policy.parse(f"deadline=none backoff=50ms..3s jitter={jitter}")
    for seed in range(30):
        for retry, delay in enumerate(policy.schedule(40, seed=seed), 1):
            low, high = bounds(policy.backoff, retry)  # type: ignore[arg-type]  # it was read from a text
            assert low <= delay <= high


# As a program


def test_a_pipe_has_no_colour_and_a_terminal_has() -> None:
    assert "\x1b" not in run("plan").stdout
    terminal = Terminal("plan")
    assert terminal.finish() == 0
    assert "\x1b[36m#" in terminal.text
    assert any("gives up" in line for line in screen_of(terminal.text, columns=200))


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_a_terminal_that_wants_none_has_no_colour(variables: dict[str, str]) -> None:
    terminal = Terminal("plan", **variables)
    assert terminal.finish() == 0
    assert "\x1b" not in terminal.text


def test_help_is_0_and_a_wrong_policy_2() -> None:
    shown = run("plan", "--help")
    assert shown.returncode == 0
    assert "examples:" in shown.stdout
    assert run("plan", "nonsense").returncode == 2


def test_the_reference_has_the_options_of_the_parser() -> None:
    assert written("plan") == reference("plan"), "write it anew: python tests/command_line.py"
