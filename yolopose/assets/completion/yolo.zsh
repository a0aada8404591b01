#compdef yolo
# Completion of yolo for zsh. In ~/.zshrc, after compinit: eval "$(yolo completion zsh)"
_yolo() {
    local mode= key= word
    local -a words_
    for word in "${words[@]}"; do
        case $word in @MODES@) mode=$word; break ;; esac
    done
    if [[ $PREFIX == *=* ]]; then
        key=${${PREFIX%%=*}#--}
        case $mode:$key in
@VALUES@
        esac
        compset -P '*='
        if (( $#words_ )); then compadd -a words_; else _files; fi
        return
    fi
    case $mode in
@ARGUMENTS@
        *) words_=(@COMMANDS@); compadd -a words_; return ;;
    esac
    compset -P '--'
    compadd -S '=' -q -a words_
}
compdef _yolo yolo
