#!/bin/sh
# Runs the agent in the foreground. Arguments go to the agent: ./run.sh --debug
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if [ -f "$here/steelthread-agent.mjs" ]; then
  if ! command -v node > /dev/null 2>&1; then
    echo 'The agent needs Node.js 20.19 or newer: https://nodejs.org' >&2
    exit 1
  fi
  exec node "$here/steelthread-agent.mjs" --config "$here/config.json" "$@"
fi

for python in python3 python; do
  if command -v "$python" > /dev/null 2>&1 &&
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null; then
    exec "$python" -I "$here/steelthread_agent.py" --config "$here/config.json" "$@"
  fi
done
echo 'The agent needs Python 3.8 or newer: https://www.python.org' >&2
exit 1
