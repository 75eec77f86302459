#!/usr/bin/env bash
# Ray 2.60.0: one ray.init() of a local Ray decides whether later clusters authenticate.
#
# Expected: a local Ray that is shut down leaves the home as it was, and what `ray start --head` does
# depends on its options and RAY_AUTH_MODE alone. Seen: with RAY_AUTH_MODE unset, the local Ray writes
# ~/.ray/auth_token, and from then on the same `ray start --head` in that home starts a cluster with
# token authentication, where before it started one without. With RAY_AUTH_TOKEN set for the local Ray
# no file is written.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ray==2.60.0 2>/dev/null
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_ADDRESS

local_ray() { # HOME [VARIABLE=VALUE]
  env HOME="$@" "$work/venv/bin/python" -c '
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
ray.shutdown()' >/dev/null 2>&1
}
head_says() { # HOME: what the head says of authentication; it ends by itself
  env HOME="$1" timeout --kill-after=20 25 "$work/venv/bin/ray" start --head --block --num-cpus=1 \
    --port=0 --include-dashboard=false --disable-usage-stats 2>&1 |
    grep --only-matching --max-count=1 'Token authentication is [a-z]*' || true
}
mkdir "$work/before" "$work/after" "$work/given"
local_ray "$work/after"
local_ray "$work/given" RAY_AUTH_TOKEN="$(printf '%064d' 7)"
before=$(head_says "$work/before") after=$(head_says "$work/after")
echo "ray 2.60.0: a new home: '$before'; after a local ray.init(): '$after'"
ls -A "$work/after/.ray" "$work/given"
[ "$before" = "Token authentication is disabled" ]
[ "$after" = "Token authentication is enabled" ]
[ -s "$work/after/.ray/auth_token" ]
[ ! -e "$work/given/.ray" ]
