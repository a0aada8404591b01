# Completion of yolo for bash. In ~/.bashrc: eval "$(yolo completion bash)"
_yolo() {
    local line=${COMP_LINE:0:COMP_POINT} mode= key= words= word prefix=
    local token=${line##* }
    for word in $line; do
        case $word in @MODES@) mode=$word; break ;; esac
    done
    COMPREPLY=()
    if [[ $token == *=* ]]; then
        key=${token%%=*}
        key=${key#--}
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=${token%%=*}=
        case $mode:$key in
@VALUES@
        esac
        if [[ $words ]]; then
            COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "${token#*=}"))
        else
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -P "$prefix" -f -- "${token#*=}"))
        fi
        return
    fi
    case $mode in
@ARGUMENTS@
        *) COMPREPLY=($(compgen -W "@COMMANDS@" -- "$token")); return ;;
    esac
    if [[ $token == --* ]]; then
        COMPREPLY=($(compgen -P -- -S = -W "$words" -- "${token#--}"))
    else
        COMPREPLY=($(compgen -S = -W "$words" -- "$token"))
    fi
    compopt -o nospace 2>/dev/null
}
complete -F _yolo yolo
