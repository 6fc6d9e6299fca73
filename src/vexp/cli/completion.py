"""Print the script that completes commands, groups, options, keys and values of vexp in a shell.

SHELL is bash, zsh or fish. Options of your own folders are completed as well.

Usage: vexp completion SHELL

Examples:
  vexp completion bash >> ~/.bashrc
  vexp completion zsh >> ~/.zshrc
  vexp completion fish > ~/.config/fish/completions/vexp.fish
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from vexp.cli.arguments import CommandLine
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig

_BASH = r"""# Completion of vexp for bash.
_vexp() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} word start
    word=${line##*[[:space:]]}
    start=${word%"${word##*[=:@]}"}  # bash replaces only what follows the last of these characters
    COMPREPLY=($(@COMMAND@ "$line" 2> /dev/null | cut -f 1))
    COMPREPLY=("${COMPREPLY[@]#"$start"}")
}
complete -o nospace -o default -F _vexp vexp
"""
_ZSH = r"""#compdef vexp
# Completion of vexp for zsh.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_vexp() {
    local word help
    local -a found shown
    while IFS=$'\t' read -r word help; do
        found+=("$word") shown+=("$word  $help")
    done < <(@COMMAND@ "$LBUFFER" 2> /dev/null)
    if (( $#found )); then
        compadd -l -Q -S '' -d shown -a found
    else
        _files
    fi
}
compdef _vexp vexp
"""
_FISH = r"""# Completion of vexp for fish.
function __vexp
    set -l found (@COMMAND@ (commandline -cp | string collect) 2> /dev/null)
    if count $found > /dev/null
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c vexp -f -a '(__vexp)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

COMMAND = CommandLine(__doc__, ValidatedConfig, composes=False)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    shells = COMMAND.parse(argv).rest
    if len(shells) != 1 or shells[0] not in _SCRIPTS:
        raise ConfigError(f"must be one of {', '.join(_SCRIPTS)}", key="SHELL", value=" ".join(shells) or None)
    print(script(shells[0]), end="")
    return 0


def script(shell: str) -> str:
    """Return the script for a shell; it runs ``complete_words.py`` with this interpreter, without its packages."""
    command = shlex.join([sys.executable, "-S", "-I", str(Path(__file__).with_name("complete_words.py"))])
    return _SCRIPTS[shell].replace("@COMMAND@", command)
