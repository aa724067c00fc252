_forgewatch() {
    # Bash splits words also at `=` and `:`; the program gets them whole.
    local words=() word last=${COMP_WORDS[COMP_CWORD]} join=""
    [[ $last == [=:]* ]] || last=""
    for word in "${COMP_WORDS[@]:0:COMP_CWORD}" ${last:+"$last"} "$2"; do
        if [[ ${#words[@]} -gt 0 && ( -n $join || $word == [=:]* ) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == [=:]* ]] && join=1 || join=""
    done
    mapfile -t COMPREPLY < <(
        _FORGEWATCH_COMPLETE=bash _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) forgewatch -- "${words[@]}" 2>/dev/null
    )
    # Readline replaces only the part behind the last of them.
    COMPREPLY=("${COMPREPLY[@]#"${words[-1]%"$2"}"}")
    local first=${COMPREPLY[0]-}
    if [[ $first == *= ]]; then
        compopt -o nospace
    elif [[ -e ${first/#\~\//"$HOME"/} ]]; then
        # Readline quotes special characters of a file name, and adds a slash to a directory.
        compopt -o filenames
    fi
}
complete -o nosort -F _forgewatch forgewatch
