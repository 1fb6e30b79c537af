#!/bin/bash
# lint.sh
#     cppcheck and clang-tidy over the sources. The Makefile has compiled the core with both
#     compilers and -Werror before it calls this.
set -euo pipefail
cd "$(dirname "$0")/.."
test/prepare.sh lint
failed=0
server=$("${PG_CONFIG:-pg_config}" --includedir-server)

cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
    --suppress=missingIncludeSystem --suppress=unknownMacro --error-exitcode=1 \
    -Isrc src/core src || failed=1

# Off: what PostgreSQL's own style does everywhere (swappable parameters, assignments in
# conditions, reserved names in its macros) and checks that ask for Annex K functions.
checks='-*,bugprone-*,clang-analyzer-*,performance-*,cert-err34-c'
checks="$checks,-bugprone-easily-swappable-parameters,-bugprone-assignment-in-if-condition"
checks="$checks,-bugprone-reserved-identifier,-bugprone-narrowing-conversions"
checks="$checks,-bugprone-implicit-widening-of-multiplication-result,-performance-no-int-to-ptr"
checks="$checks,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling"
checks="$checks,-bugprone-branch-clone,-bugprone-macro-parentheses"

# A process a file: given several, clang-tidy 14 takes a sound va_list for an uninitialised one.
tidy() { # FLAG... -- FILE...
    local flags=()
    while [ "$1" != -- ]; do
        flags+=("$1")
        shift
    done
    shift
    printf '%s\n' "$@" | xargs -P 2 -I {} \
        clang-tidy --quiet --checks="$checks" --warnings-as-errors='*' {} -- \
        -std=gnu11 -Isrc "${flags[@]}" 2>/dev/null
}
tidy -- src/core/*.c || failed=1
tidy -I"$server" -D_GNU_SOURCE -- src/*.c || failed=1

echo "lint: $((1 - failed)) passed, $failed failed"
exit $failed
