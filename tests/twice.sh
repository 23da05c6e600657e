#!/usr/bin/env bash
# Runs a pytest command; what failed is run once more, and fails if it fails again. For sessions that share two cores
# with others: stock Ansible has races of its own, which load brings out. Both verdicts are printed.
set -uo pipefail
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
"$@" -o cache_dir="$cache"
verdict=$?
[ "$verdict" = 1 ] || exit "$verdict"
printf '\n== once more: what failed\n'
"$@" -o cache_dir="$cache" --last-failed --last-failed-no-failures none
