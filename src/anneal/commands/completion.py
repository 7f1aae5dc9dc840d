"""Shell completion of verbs, options and configuration groups.

  eval "$(anneal completion bash)"    # in ~/.bashrc
  eval "$(anneal completion zsh)"     # in ~/.zshrc, after compinit
  anneal completion fish | source     # in ~/.config/fish/config.fish

``anneal run sched<TAB>`` becomes ``scheduler=``, and the next <TAB> lists its options.
"""

from collections.abc import Sequence

from anneal.commands.main import VERBS
from anneal.commands.run_help import groups_of_a_run, options_of_group
from anneal.config.folders import OPTION
from anneal.io.terminal import command, say
from anneal.io.text import did_you_mean

WORDS = "words"  # `anneal completion words run sched` is what the scripts below call
# A shell passes the words after `anneal`; the last one is unfinished and may be empty.
SCRIPTS = {
    "bash": """\
_anneal() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$'\\n'
    local words; IFS=' ' read -ra words <<<"$line"
    [[ $line == *' ' ]] && words+=('')
    COMPREPLY=($(anneal completion words "${words[@]:1}" 2>/dev/null))
    local current=${words[-1]}  # bash completes what follows the last '=' alone
    [[ $COMP_WORDBREAKS == *=* && $current == *=* ]] && COMPREPLY=("${COMPREPLY[@]#${current%=*}=}")
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _anneal anneal""",
    "zsh": """\
_anneal() {
    local -a found
    found=(${(f)"$(anneal completion words "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    compadd -S '' -a found || _files
}
compdef _anneal anneal""",
    "fish": """\
complete -c anneal -f -a \
'(anneal completion words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'""",
}
COMPOSED = {"run", "advise", "plot"}  # verbs that take group=option
OF_CAMPAIGNS = {"status", "costs", "publish", "compare"}
OPTIONS = {
    "run": ["-m", "--multirun", "--cfg", OPTION],
    "advise": [OPTION],
    "plot": [OPTION, "to="],
    "grid": [
        "--devices",
        "--workers",
        "--abreast",
        "--slurm",
        "--parallel",
        "--retries",
        "--dry-run",
    ],
    "compare": ["--metric", "--json"],
    "publish": ["--dry-run", "--json"],
    "ensemble": ["to=", "folder="],
    "params": ["campaign="],
}
OF_ALL = ["--help", "--traceback"]


@command(free=True)
def main(arguments: list[str]) -> None:
    """Print the completion script of a shell, or the words that complete a line."""
    shell, *words = arguments or [""]
    if shell == WORDS:
        for word in complete(words):
            say(word)
    elif shell in SCRIPTS and not words:
        say(SCRIPTS[shell])
    else:
        given = " ".join(arguments) or "nothing"
        raise ValueError(f"needs the name of a shell, got {given}{did_you_mean(shell, SCRIPTS)}")


def complete(words: Sequence[str]) -> list[str]:
    """Return the completions of the last word of a line.

    Args:
        words: all words after ``anneal``; the last one may be empty.
    """
    verb, *later = words or [""]
    current = (later or [verb])[-1]
    return [
        word for word in (_words(verb, current) if later else VERBS) if word.startswith(current)
    ]


def _words(verb: str, current: str) -> list[str]:
    """Return the words that a verb takes in the place of ``current``."""
    group, equals, value = current.partition("=")
    takes = {"campaign"} if verb == "params" else set(groups_of_a_run())
    if equals and verb in {*COMPOSED, "params"} and group in takes:
        before = value.rpartition(",")[0]  # of a multirun: experiment=a,b
        start = f"{group}={before}," if before else f"{group}="
        return [f"{start}{option}" for option in options_of_group(group)]
    found = [*OPTIONS.get(verb, []), *OF_ALL]
    if verb in COMPOSED:
        found += [f"{name}=" for name in groups_of_a_run()]
    if verb in OF_CAMPAIGNS:
        found += options_of_group("campaign")
    if verb == "rows":
        found += options_of_group("table")
    if verb == "completion":
        found += SCRIPTS
    return found
