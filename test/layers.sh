#!/bin/bash
# layers.sh OBJECT...
#     Show that the core keeps to its layer: it includes no header of PostgreSQL, and its objects
#     call nothing but each other, libm, utf8proc, and those functions of libc that neither
#     allocate, exit, jump, keep state nor do input and output.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

headers='assert|ctype|errno|float|inttypes|limits|math|stdalign|stdarg|stdbool|stddef|stdint|stdlib'
headers="$headers|string|stdio|utf8proc|immintrin|arm_neon|cpuid|sys/auxv|asm/hwcap"
foreign=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' src/core/*.[ch] |
    grep -vE "<($headers)\.h>" || true)
ours=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' src/core/*.[ch] |
    while IFS= read -r line; do
        name=${line#*\"}
        name=${name%%\"*}
        [ -f "src/core/$name" ] || echo "$line"
    done)
if [ -n "$foreign$ours" ]; then
    echo "lint-layers: includes that the core must not have:"
    printf '%s\n' "$foreign" "$ours" | sed '/^$/d'
    failed=1
fi

libc='memcpy memmove memset memcmp memchr strlen strcmp strncmp strchr strrchr strstr strtol strtod
    strtoull snprintf vsnprintf __snprintf_chk __vsnprintf_chk __memcpy_chk __memset_chk
    __stack_chk_fail _GLOBAL_OFFSET_TABLE_ __cpu_model __cpu_features2
    __cpu_indicator_init bcmp getauxval'
libm='erf erff exp expf tanh tanhf sqrt sqrtf log logf ceil ceilf floor floorf round roundf rint
    rintf lrintf lrint nearbyint nearbyintf fabs fabsf ldexp ldexpf fmin fmax fminf fmaxf pow powf
    frexp scalbn scalbnf fma fmaf isnan cos sin'
allowed=$(mktemp)
called=$(mktemp)
trap 'rm -f "$allowed" "$called"' EXIT
{
    nm --defined-only -g "$@" | awk 'NF == 3 { print $3 }'
    tr -s ' \n' '\n\n' <<<"$libc $libm"
} | sort -u >"$allowed"
nm -u "$@" | awk '$1 == "U" { print $2 }' | sort -u | grep -v '^utf8proc_' >"$called" || true
calls=$(comm -23 "$called" "$allowed")
if [ -n "$calls" ]; then
    echo "lint-layers: symbols that the core must not use:" $calls
    nm -A -u "$@" | grep -wF "$calls" | sed 's/^/    /'
    failed=1
fi

# Writable data would be state that callers share.
for object in "$@"; do
    objdump -t "$object" | awk -v object="$object" \
        '/ O \.(data|bss)/ && !/ \.data\.rel\.ro/ { print "    " object ": " $NF }'
done >"$called"
if [ -s "$called" ]; then
    echo "lint-layers: variables that can be written:"
    cat "$called"
    failed=1
fi

echo "lint-layers: $((1 - failed)) passed, $failed failed"
exit $failed
