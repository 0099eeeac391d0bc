"""The command `resolve completion`: what makes bash, zsh or fish complete the command line.

click asks the options and arguments what may stand there (options.py), and has a script for each shell. That of bash
is ours: click's shows either words or files, and the first word of this command may be either.
"""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

from resolver.options import OneOf, command, paths

SHELLS = ("bash", "zsh", "fish")

_INSTALL = {
    "bash": "resolve completion bash > ~/.resolve.bash && echo '. ~/.resolve.bash' >> ~/.bashrc",
    "zsh": "resolve completion zsh > ~/.resolve.zsh && echo '. ~/.resolve.zsh' >> ~/.zshrc  # after compinit",
    "fish": "resolve completion fish > ~/.config/fish/completions/resolve.fish",
}


class _BehindConfig(ShellComplete):
    """Completion of what stands behind `config`: the command line that it is asked about."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        return super().get_completions(args[1:] if args[:1] == ["config"] else args, incomplete)


class _WholeWord(_BehindConfig):
    """Completion where --option=value is one word: what is offered takes the place of all of it."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        option, equals, begun = incomplete.partition("=")
        items = super().get_completions(args, incomplete)
        if not (equals and option.startswith("-")):
            return items
        values = [value for item in items for value in (paths(begun) if item.type == "file" else [item.value])]
        return [CompletionItem(f"{option}={value}") for value in values]


@add_completion_class
class Zsh(_WholeWord, ZshComplete):
    """Completion for zsh."""


@add_completion_class
class Fish(_WholeWord, FishComplete):
    """Completion for fish."""


@add_completion_class
class Bash(_BehindConfig, BashComplete):
    """Completion for bash 4.4 and later, with words and files side by side."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' item files word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    while read -r item; do
        if [[ $item == file,* ]]; then
            compopt -o filenames
            mapfile -t files < <(compgen -f -- "$word")
            COMPREPLY+=("${files[@]}")
        else
            COMPREPLY+=("${item#*,}")
        fi
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    @staticmethod
    def _check_version() -> None:
        """Say nothing: the shell that reads the script may be another than the one that is found here."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and that; bash makes words of the = and @ inside of one."""
        words, incomplete = super().get_completion_args()
        words = [word for word in words if word != "="]
        if words[-1:] == ["@"]:
            return words[:-1], f"@{incomplete}"
        return words, "" if incomplete == "=" else incomplete


@command()
@click.argument("shell", type=OneOf(SHELLS), metavar="SHELL")
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print what makes bash, zsh or fish complete the command line.

    SHELL is bash, zsh or fish. A comment at the top says how to install it.
    """
    maker = get_completion_class(shell)
    assert maker is not None
    script = maker(ctx.find_root().command, {}, "resolve", "_RESOLVE_COMPLETE").source()
    # The first line of zsh's is for the shell.
    head, feed, rest = script.partition("\n") if script.startswith("#compdef") else ("", "", script)
    click.echo(f"{head}{feed}# Install it: {_INSTALL[shell]}\n{rest}", nl=False)
