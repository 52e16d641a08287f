#!/bin/sh
# Waits until the Temporal server at TEMPORAL_ADDRESS serves, and makes TEMPORAL_NAMESPACE unless it is there.
set -eu

attempts=60
until temporal operator cluster health; do
  attempts=$((attempts - 1))
  if [ "$attempts" -eq 0 ]; then
    echo "the Temporal server at $TEMPORAL_ADDRESS does not serve" >&2
    exit 1
  fi
  sleep 2
done

if ! temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 3d
fi
