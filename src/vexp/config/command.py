"""Run a command: its errors, exit status and console log. Hydra is imported only to explain an error of Hydra."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from vexp.core.errors import UserError, shorten, without_secrets
from vexp.core.interrupt import EXIT_KEYBOARD_INTERRUPT, MESSAGE, raise_on_interrupt
from vexp.core.log import escaped_output, log_to_console

EXIT_USER_ERROR = 2
_LONGEST_WORD = 500  # characters of a word in a message; a longer one is shown without its middle
_WORD = re.compile(r"\S+")
_NO_MEMORY = re.compile(r"failed to map segment|[Cc]annot allocate memory")
Command = Callable[[Sequence[str]], int | None]


def run_command(command: Command, argv: Sequence[str]) -> int:
    """Run a command and return its exit status.

    An error that the user can fix is printed in a few lines, with exit status 2 and no traceback. With
    HYDRA_FULL_ERROR=1 exceptions are not caught.
    """
    raise_on_interrupt()  # the command is imported
    with escaped_output(), log_to_console():
        if os.environ.get("HYDRA_FULL_ERROR") in ("1", "true"):
            return command(argv) or 0
        os.environ["HYDRA_FULL_ERROR"] = "1"  # documented by Hydra: it raises instead of printing and exiting
        try:
            return command(argv) or 0
        except UserError as error:
            return _print_error(str(error))
        except SystemExit as ended:  # of a job or a sweeper, through Hydra
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BrokenPipeError:  # the reader of the pipe has ended: | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            print(MESSAGE, file=sys.stderr)
            return EXIT_KEYBOARD_INTERRUPT
        except Exception as error:
            message = _config_error_message(error, argv)
            if message is None:
                raise
            return _print_error(message)
        finally:
            del os.environ["HYDRA_FULL_ERROR"]


def help_requested(argv: Sequence[str]) -> bool:
    """Whether -h or --help is among the arguments."""
    return bool({"-h", "--help"} & set(argv))


def system_limit_message(error: Exception) -> str | None:
    """The message for a path that no file can have, or for a limit of memory; None for another error."""
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and _NO_MEMORY.search(str(error))):
        reason = str(error) or type(error).__name__
        return f"out of memory ({reason}); free some, or raise the limit of this process (ulimit -v)"
    return None


def exit_with_error(message: str) -> NoReturn:
    """End the command with a message and exit status 2."""
    raise SystemExit(_print_error(message))


def _print_error(message: str) -> int:
    message = _WORD.sub(lambda word: shorten(word[0], _LONGEST_WORD), without_secrets(message))
    print(f"vexp: error: {message}", file=sys.stderr)
    return EXIT_USER_ERROR


def _config_error_message(error: Exception, argv: Sequence[str]) -> str | None:
    """The message for an error of Hydra, OmegaConf or YAML, or of a limit of the system; None for any other."""
    if (message := system_limit_message(error)) is not None or "hydra" not in sys.modules:
        return message
    from vexp.config.errors import to_config_error
    from vexp.config.overrides import as_typed, config_search_dirs, split_flags, take_config_dirs
    from vexp.config.provenance import Provenance

    flags, overrides = split_flags(argv)
    folders = config_search_dirs(overrides, take_config_dirs(flags)[0])
    config_error = to_config_error(error, Provenance(overrides=as_typed(overrides), folders=folders))
    return None if config_error is None else str(config_error)
