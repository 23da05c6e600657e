#!/bin/sh
echo "script $1 runs as $(id -un) in $(basename "$PWD")"
echo "script stderr" >&2
exit "${2:-0}"
