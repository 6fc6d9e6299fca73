"""``vexp COMMAND`` and ``python -m vexp COMMAND``: find the command in the table and run it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from vexp.cli.commands import ALIASES, COMMANDS, overview
from vexp.core.errors import did_you_mean
from vexp.core.imports import importing
from vexp.core.interrupt import exit_on_interrupt, raise_on_interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    exit_on_interrupt()
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    finally:
        raise_on_interrupt()


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        from vexp import __version__

        print(f"vexp {__version__}")
        return 0
    name = ALIASES.get(arguments[0], arguments[0])
    if name not in COMMANDS:
        hint = did_you_mean(name, [*COMMANDS, *ALIASES])
        print(f"vexp: error: {name}: no such command{hint}\n  commands: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    with importing():
        module = import_module(COMMANDS[name])
    from vexp.config.command import help_requested, run_command

    if hasattr(module, "COMMAND") and help_requested(arguments[1:]):
        print(module.COMMAND.help())
        return 0
    return run_command(module.main, arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
