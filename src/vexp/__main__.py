"""``vexp COMMAND`` and ``python -m vexp COMMAND``: find the command in the table and run it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from vexp.cli.commands import ALIASES, COMMANDS, overview


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    name = ALIASES.get(words[0], words[0])
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"vexp: error: {words[0]}: no such command{hint}\n  commands: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    sys.argv = [f"vexp {name}", *words[1:]]
    return import_module(COMMANDS[name].module_name).main() or 0


if __name__ == "__main__":
    sys.exit(main())
