# tally.sh
#     Counts what passed and what failed, for scripts that source this file.

passed=0
failed=0
skipped=0

begin() { # TITLE
    section_start=$SECONDS
    echo "== $1"
}

note() {
    echo "   $*"
}

count() { # PASSED FAILED
    passed=$((passed + $1))
    failed=$((failed + $2))
    note "$1 passed, $2 failed ($((SECONDS - section_start)) s)"
}

skip() { # REASON
    skipped=$((skipped + 1))
    note "skipped: $*"
}

# Add up lines "NAME: N passed, M failed" of a log. A program that died before it could count, or
# one that failed without a failure counted, is one failure.
count_lines() { # LOG STATUS
    local p f
    p=$(sed -nE 's/^[^ ]+: ([0-9]+) passed, [0-9]+ failed.*/\1/p' "$1" | paste -sd+ | add_up)
    f=$(sed -nE 's/^[^ ]+: [0-9]+ passed, ([0-9]+) failed.*/\1/p' "$1" | paste -sd+ | add_up)
    [ "$2" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    count "$p" "$f"
}

add_up() {
    local sum
    read -r sum || sum=0
    echo $((${sum:-0}))
}

# Count the lines of pg_regress: "test x ... ok" until 15, TAP since 16.
count_regress() { # LOG STATUS
    local p f
    p=$(grep -cE '^(test .*|     .*)\.\.\. ok|^ok [0-9]' "$1") || true
    f=$(grep -cE '\.\.\. FAILED|^not ok [0-9]' "$1") || true
    [ "$2" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ $((p + f)) -eq 0 ] && f=1
    count "$p" "$f"
}

# Count the assertions of a TAP log.
count_tap() { # LOG STATUS
    local p f
    if grep -q '^1\.\.0 # SKIP' "$1"; then
        skip "$(sed -n 's/^1\.\.0 # SKIP //p' "$1")"
        return
    fi
    p=$(grep -c '^ok ' "$1") || true
    f=$(grep -c '^not ok ' "$1") || true
    [ "$2" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ $((p + f)) -eq 0 ] && f=1
    count "$p" "$f"
}

finish() { # the closing line, and the script's exit status
    [ "$skipped" -gt 0 ] && echo "($skipped skipped, with the reasons above)"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
