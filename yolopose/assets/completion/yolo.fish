# Completion of yolo for fish: yolo completion fish > ~/.config/fish/completions/yolo.fish
function __yolo_mode
    for word in (commandline -opc)
        if contains -- $word @MODES@
            echo $word
            return
        end
    end
end
function __yolo_in
    set -l mode (__yolo_mode)
    test "$mode" = $argv[1]
end
complete -c yolo -f -n '__yolo_in ""' -a '@COMMANDS@'
@ARGUMENTS@
