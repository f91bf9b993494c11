#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Tries the committed state as a new user would: a clean clone on a fresh Debian, where nothing is
# installed, `./dev build` and `./dev test`. Usage: try-in-chroot.sh RELEASE [COMMAND...]
# Ends with 77 where that cannot be tried: it takes root, debootstrap and a Debian mirror.
# CASHEW_CHROOT names a debootstrapped folder to take instead of a new one; it is kept.
set -eu

release=$1
shift
[ $# -gt 0 ] || set -- sh -c './dev build && ./dev test'
cannot() {
    echo "try-in-chroot: $*" >&2
    exit 77
}
root=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || cannot "only root can"
command -v git >/dev/null || cannot "there is no git"
mirror=$(sed -n -e 's/^URIs: *//p' -e 's/^deb \(\[[^]]*\] \)*\(http[^ ]*\) .* main.*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list \
    2>/dev/null | grep '/debian/*$' | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}

new=
there=${CASHEW_CHROOT:-}
clean_up() {
    umount "$there/dev/pts" "$there/proc" 2>/dev/null || true
    rm -rf "$there/root/cashew"
    if [ -n "$new" ] && ! grep -q " $there/" /proc/mounts; then
        rm -rf --one-file-system "$there"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$there" ]; then
    command -v debootstrap >/dev/null || cannot "there is no debootstrap"
    there=$(mktemp -d)
    new=yes
    debootstrap --variant=minbase "$release" "$there" "$mirror" >"$there.log" 2>&1 || {
        tail -n 3 "$there.log" >&2
        rm -f "$there.log"
        cannot "debootstrap could not fetch $release from $mirror"
    }
    rm -f "$there.log"
fi

# How this machine reaches its mirror is how the new one does.
cp /etc/resolv.conf /etc/hosts "$there/etc/"
grep -l '^Acquire' /etc/apt/apt.conf.d/* 2>/dev/null | while read -r file; do
    cp "$file" "$there/etc/apt/apt.conf.d/"
done
mount -t proc proc "$there/proc"
mkdir -p "$there/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$there/dev/pts"
ln -sf pts/ptmx "$there/dev/ptmx"
rm -rf "$there/root/cashew"
git clone -q --no-hardlinks "$root" "$there/root/cashew"

env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    chroot "$there" sh -c 'cd /root/cashew && exec "$@"' sh "$@"
