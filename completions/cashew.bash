# SPDX-License-Identifier: BSD-3-Clause
# Made by scripts/gen-completions.py.
_cashew_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_cashew_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_cashew() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    # bash takes --name=value for three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if [[ $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} == ring ]]; then
        case $prev in
            -c | --conf-file) _cashew_files "$cur"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _cashew_words "-h --help -c --conf-file -d --diff -j --json -0 --null" "$cur"
        elif [[ " ${COMP_WORDS[*]} " == *" --diff "* || " ${COMP_WORDS[*]} " == *" -d "* ]]; then
            _cashew_files "$cur"
        fi
        return
    fi
    case $prev in
        -v | --verbose) return ;;
        -o | --output) _cashew_files "$cur"; return ;;
        -c | --conf-file) _cashew_files "$cur"; return ;;
        -s | --stats-port) return ;;
        -a | --stats-addr) return ;;
        -i | --stats-interval) return ;;
        -p | --pid-file) _cashew_files "$cur"; return ;;
        -m | --mbuf-size) return ;;
        --workers) _cashew_words "auto" "$cur"; return ;;
        --io) _cashew_words "epoll uring auto" "$cur"; return ;;
    esac
    if [[ $cur == -* ]]; then
        _cashew_words "-h --help -V --version -t --test-conf -d --daemonize -D --describe-stats --describe-config -v --verbose -o --output -c --conf-file -s --stats-port -a --stats-addr -i --stats-interval -p --pid-file -m --mbuf-size --workers --io" "$cur"
    elif [[ $COMP_CWORD -eq 1 ]]; then
        _cashew_words ring "$cur"
    fi
}

complete -F _cashew cashew nutcracker
