# loopmark.bash: completion for bash. What fits, the program itself says (harness/completion.h).
# shellcheck shell=bash

# _loopmark_places ACTION PART: adds files or folders, as `compgen -A` calls them
_loopmark_places() {
    local places
    compopt -o filenames
    mapfile -t places < <(compgen -A "$1" -- "$2")
    COMPREPLY+=("${places[@]}")
}

_loopmark() {
    local line=${COMP_LINE:0:COMP_POINT} words word part candidate
    COMPREPLY=()
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    word=${words[-1]}
    part=${word##*[=:]} # bash replaces only what comes after these
    while IFS= read -r candidate; do
        case $candidate in
        FILE) _loopmark_places file "$part" ;;
        DIR) _loopmark_places directory "$part" ;;
        *) COMPREPLY+=("${candidate#"${word%"$part"}"}") ;;
        esac
        [[ $candidate == *[=/:] ]] && compopt -o nospace
    done < <("$1" --complete "${words[@]:1}" 2>/dev/null)
}
complete -F _loopmark loopmark
