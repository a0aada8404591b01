"""`yolo completion SHELL`: a script, made of the table of arguments, that completes `yolo` in bash, zsh or fish."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from yolopose.config import MODES, Argument, arguments
from yolopose.config.groups import grouped
from yolopose.config.schema import members_of
from yolopose.errors import UsageError, did_you_mean, shown

COMMANDS = ("help", "checks", "formats", "cfg", "completion", "version")

BASH = """\
# Completion of yolo for bash. In ~/.bashrc: eval "$(yolo completion bash)"
_yolo() {{
    local line=${{COMP_LINE:0:COMP_POINT}} mode= key= words= word prefix=
    local token=${{line##* }}
    for word in $line; do
        case $word in {modes}) mode=$word; break ;; esac
    done
    COMPREPLY=()
    if [[ $token == *=* ]]; then
        key=${{token%%=*}}
        key=${{key#--}}
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=${{token%%=*}}=
        case $mode:$key in
{values}
        esac
        if [[ $words ]]; then
            COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "${{token#*=}}"))
        else
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -P "$prefix" -f -- "${{token#*=}}"))
        fi
        return
    fi
    case $mode in
{names}
        *) COMPREPLY=($(compgen -W "{commands}" -- "$token")); return ;;
    esac
    if [[ $token == --* ]]; then
        COMPREPLY=($(compgen -P -- -S = -W "$words" -- "${{token#--}}"))
    else
        COMPREPLY=($(compgen -S = -W "$words" -- "$token"))
    fi
    compopt -o nospace 2>/dev/null
}}
complete -F _yolo yolo
"""
ZSH = """\
#compdef yolo
# Completion of yolo for zsh. In ~/.zshrc, after compinit: eval "$(yolo completion zsh)"
_yolo() {{
    local mode= key= word
    local -a words_ values_
    for word in "${{words[@]}}"; do
        case $word in {modes}) mode=$word; break ;; esac
    done
    if [[ $PREFIX == *=* ]]; then
        key=${{${{PREFIX%%=*}}#--}}
        case $mode:$key in
{values}
        esac
        compset -P '*='
        if (( $#values_ )); then compadd -a values_; else _files; fi
        return
    fi
    case $mode in
{names}
        *) words_=({commands}); compadd -a words_; return ;;
    esac
    compset -P '--'
    compadd -S '=' -q -a words_
}}
compdef _yolo yolo
"""
FISH = """\
# Completion of yolo for fish: yolo completion fish > ~/.config/fish/completions/yolo.fish
function __yolo_mode
    for word in (commandline -opc)
        if contains -- $word {modes}
            echo $word
            return
        end
    end
end
function __yolo_in
    set -l mode (__yolo_mode)
    test "$mode" = $argv[1]
end
complete -c yolo -f -n '__yolo_in ""' -a '{commands}'
{names}
"""


def script(shell: str) -> str:
    """The script of a shell. Raises UsageError for another one than bash, zsh and fish."""
    if shell not in SHELLS:
        wanted = f"completion of {shown(shell)}" if shell else "completion needs a shell"
        raise UsageError(f"{wanted}: one of {', '.join(SHELLS)}{did_you_mean(shell, SHELLS)}")
    return SHELLS[shell]()


def _ordered(mode: str) -> list[Argument]:
    """A mode's arguments in the order of the help."""
    return [argument for group in grouped(arguments(MODES[mode])).values() for argument in group]


def _values(argument: Argument, mode: str) -> list[str]:
    """The values that an argument may take, where they are few."""
    if argument.name == "format" and mode in ("export", "benchmark"):
        from yolopose.formats.table import FORMATS

        return [row.argument for row in FORMATS if row.export]
    if argument.choices:
        return [str(choice) for choice in argument.choices]
    return ["True", "False"] if bool in members_of(argument.hint) else []


def _cases(assign: str) -> str:
    """`mode:name) words=… ;;` of every argument that has few values."""
    return "\n".join(
        f"            {mode}:{argument.name}) {assign.format(' '.join(values))} ;;"
        for mode in MODES
        for argument in _ordered(mode)
        if (values := _values(argument, mode))
    )


def _names(assign: str) -> str:
    """`mode) words=… ;;` of every mode."""
    return "\n".join(f"        {mode}) {assign.format(' '.join(a.name for a in _ordered(mode)))} ;;" for mode in MODES)


def _bash() -> str:
    commands = " ".join((*MODES, *COMMANDS))
    return BASH.format(
        modes="|".join(MODES), values=_cases('words="{}"'), names=_names('words="{}"'), commands=commands
    )


def _zsh() -> str:
    commands = " ".join((*MODES, *COMMANDS))
    return ZSH.format(
        modes="|".join(MODES), values=_cases("values_=({})"), names=_names("words_=({})"), commands=commands
    )


def _fish() -> str:
    return FISH.format(modes=" ".join(MODES), commands=" ".join((*MODES, *COMMANDS)), names="\n".join(_fish_lines()))


def _fish_lines() -> Iterator[str]:
    """One line per argument, with its meaning, and one per argument with few values."""
    for mode in MODES:
        for argument in _ordered(mode):
            doc = argument.doc.replace("\\", "\\\\").replace("'", "\\'")
            name, values = argument.name, _values(argument, mode)
            start = f"complete -c yolo -n '__yolo_in {mode}'"
            yield f"{start} -a '{name}=' -d '{doc}'"
            yield f"{start} -l {name} -d '{doc}' " + (f"-x -a '{' '.join(values)}'" if values else "-r")
            if values:
                yield f"{start} -a '{' '.join(f'{name}={value}' for value in values)}'"


SHELLS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
