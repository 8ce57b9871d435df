# shellcheck shell=bash
# To be sourced in the checkout's directory: installs what tests and benchmarks need where it is missing,
# Debian packages and, in $venv, Python ones.

venv=.venv
stamp=$venv/installed

load_library='import ctypes, sysconfig; ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))'

# What is needed, and the Debian package that has it.
missing_packages() {
    local command package
    while read -r command package; do
        command -v "$command" >/dev/null || echo "$package"
    done <<END
cc gcc
containerd containerd
curl curl
dnsmasq dnsmasq-base
debootstrap debootstrap
ip iproute2
iptables iptables
nft nftables
nsenter util-linux
objcopy binutils
ping iputils-ping
podman podman
/usr/bin/python3 python3
runc runc
shellcheck shellcheck
strace strace
sysctl procps
/usr/bin/time time
/usr/lib/cni/host-local containernetworking-plugins
END
    # What Debian signs sid's packages with.
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
    # Test images hold nothing but busybox: the one that needs no library.
    dpkg --status busybox-static >/dev/null 2>&1 || echo busybox-static
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    # The executable takes in the static library of the system's Python, PyInstaller the shared one of python3.
    { /usr/bin/python3 - && python3 -c "$load_library"; } 2>/dev/null <<'END' || echo libpython3-dev
import os, sysconfig
os.stat(os.path.join(sysconfig.get_config_var("LIBPL"), sysconfig.get_config_var("LIBRARY")))
END
    [ -e "$(cc -print-file-name=libc.a 2>/dev/null)" ] || echo libc6-dev
}

mapfile -t packages < <(missing_packages)
if [ ${#packages[@]} -gt 0 ]; then
    echo "Installing Debian packages: ${packages[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${packages[@]}" >/dev/null
fi

# A kernel as a program, for tests that this machine's kernel has no part for (tests/uml). Not every distribution and
# processor has it, and those tests are skipped without.
if ! command -v linux.uml >/dev/null && apt-cache show user-mode-linux >/dev/null 2>&1; then
    echo "Installing Debian packages: user-mode-linux kmod"
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends user-mode-linux kmod >/dev/null
fi

if ! sha256sum --status --check "$stamp" 2>/dev/null; then
    echo "Installing Python packages in $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" --quiet --disable-pip-version-check install --editable '.[test,build]'
    sha256sum pyproject.toml >"$stamp"
fi

tests/newest.sh
