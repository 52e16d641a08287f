#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME. go test takes one target at a time, hence the loop.
# A finding is written below the package's testdata/fuzz and fails the run: commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-20s}
found=0
for module in ${MODULES:-.}; do
  while IFS=: read -r file target; do
    found=1
    package=./$(dirname "$file")
    echo "fuzz: $module $package $target $fuzztime"
    (cd "$module" && go test -run='^$' -fuzz="^$target\$" -fuzztime="$fuzztime" "$package")
  done < <(cd "$module" && grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . |
    { [ "$module" = . ] && grep -v '^./samples/' || cat; } | sed -E 's|^\./||; s|:func |:|' | sort)
done
[ "$found" = 1 ] || echo "fuzz: no fuzz targets"
