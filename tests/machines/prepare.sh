#!/bin/sh
# prepare.sh SUITE DIRECTORY LIBRARY...: makes a Debian root in DIRECTORY/root, and gets the packages and Python libraries
# that tests install in it, so that they need no network. It runs in a mount namespace of its own, and changes nothing else.
set -eu
suite=$1 directory=$2
shift 2
checkout=$(cd "$(dirname "$0")/../.." && pwd)
root=$directory/root

# shellcheck disable=SC2016 # $(REPO_URI) is apt's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -v security | head -n 1)
rm -rf "$directory"
mkdir -p "$directory/archives/partial" "$directory/wheels"
# So that apt can get packages in there as it can out here.
apt-config dump Acquire | grep -v '::$' >"$directory/apt.conf" || true
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"
cp "$directory/apt.conf" "$root/etc/apt/apt.conf.d/99machine"
echo 'APT::Install-Recommends "false"; Acquire::Languages "none";' >>"$root/etc/apt/apt.conf.d/99machine"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

# What a test of the machine itself takes, which is not what is tested.
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq -y install iproute2 sudo >/dev/null
install -m 755 /bin/busybox "$root/usr/local/bin/busybox"

mount --bind "$directory/archives" "$root/var/cache/apt/archives"
echo 'Binary::apt::APT::Keep-Downloaded-Packages "true"; APT::Keep-Downloaded-Packages "true";' \
    >"$root/etc/apt/apt.conf.d/98keep"
rm -f "$root/etc/apt/apt.conf.d/docker-clean"
chroot "$root" apt-get -qq -y --download-only install \
    containerd python3 python3-venv libpython3-dev gcc libc6-dev binutils iptables containernetworking-plugins >/dev/null
umount "$root/var/cache/apt/archives"

version=$(chroot "$root" apt-cache show --no-all-versions python3 | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p')
# The machine will have no name server, and a name.
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(hostname)" >"$root/etc/hosts"
: >"$root/etc/resolv.conf"

# What has no wheel is built first: it is Python alone, and the same for each version.
pip() { "$checkout/.venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip wheel --wheel-dir "$directory/wheels" "$@"
pip download --only-binary=:all: --python-version "$version" --find-links "$directory/wheels" \
    --dest "$directory/wheels" "$@"
printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$root/etc/pip.conf"
