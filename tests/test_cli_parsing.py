"""What the parsers of all commands have in common."""

from __future__ import annotations

import pytest

from resilient.cli import main

URL = "redis://app:s3cret@cache:6379/0"


@pytest.mark.parametrize(
    "arguments",
    [
        [URL],
        ["demo", URL],
        ["doctor", "--json", "--timeout", URL, "db:1"],
        ["doctor", f"--target={URL}"],
        ["plan", URL],
        ["plan", f"deadline={URL}"],
        ["plan", "--clients", URL],
        ["plan", "--env", URL],
        ["wait", "-t", URL, "db:1"],
        ["wait", f"--target={URL}", "db:1"],
        ["wait", "--policy", URL, "db:1"],
        ["wait", "--policy", f"deadline={URL}", "db:1"],
        ["wait", "--stable-for", URL, "db:1"],
        ["wait", "--status", URL, "http://db"],
    ],
    ids=" ".join,
)
def test_a_url_in_the_wrong_place_is_repeated_without_its_password(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`-t` may well be taken for the target's."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert ": error: " in shown.err
    assert "s3cret" not in shown.out + shown.err
