#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Installs Debian or Ubuntu packages, as root, without starting the services in them: the tests
# start servers of their own, and a developer's machine should not get daemons by the way.
set -eu

policy=/usr/sbin/policy-rc.d
made_policy=

clean_up() {
    if [ -n "$made_policy" ]; then
        rm -f "$policy"
        made_policy=
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A machine with a policy of its own (an image builder's, for example) keeps it.
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\n# Written by cashew'\''s ./dev while it installs packages.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"

# What was installed just now should not start at the next boot either.
if [ -d /run/systemd/system ]; then
    for service in redis-server memcached nutcracker haproxy; do
        for package in "$@"; do
            if [ "$package" = "$service" ]; then
                systemctl disable "$service" || true
            fi
        done
    done
fi
