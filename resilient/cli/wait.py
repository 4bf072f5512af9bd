"""`resilient wait`: return when targets serve, or hand over to a command that needs them.

Progress goes to stderr only; stdin and stdout belong to the command.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ._wait._books import SERVES
from ._wait._options import Options, read
from ._wait._parser import make_parser
from ._wait._screens import Screen, screen_for
from ._wait._secrets import Mask, hide_from_process_table
from ._wait._signals import NOT_FOUND, NOT_RUNNABLE, Stopped, become, heard
from ._wait._watch import Watch

__all__ = ["make_parser", "run"]


def run(argv: Sequence[str]) -> int:
    """Wait, run the command if there is one, and return the exit status."""
    options = read(argv)
    hide_from_process_table([(target.text, target.name) for target in options.targets])
    mute = logging.NullHandler()  # or else what drivers warn of would stand between the lines, and secrets in it
    logging.getLogger().addHandler(mute)
    try:
        return _run(options)
    finally:
        logging.getLogger().removeHandler(mute)


def _run(options: Options) -> int:
    screen = screen_for(options)
    try:
        with heard():
            code = Watch(options, Mask(text for target in options.targets for _, text in target.hosts), screen).run()
            if code != SERVES or not options.command:
                return code
            return _hand_over(options.command, screen)
    except Stopped as stopped:
        screen.stopped(stopped.number)
        return 128 + stopped.number


def _hand_over(command: tuple[str, ...], screen: Screen) -> int:
    screen.hand_over(command[0])
    try:
        return become(command)
    except FileNotFoundError:
        screen.complain(f"{command[0]}: command not found")
        return NOT_FOUND
    except OSError as error:
        screen.complain(f"{command[0]}: {error.strerror or type(error).__name__}")
        return NOT_RUNNABLE
