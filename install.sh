#!/usr/bin/env bash
# Builds the plugin and puts it, with a configuration, where a container runtime looks for them.
set -euo pipefail
shopt -s nullglob
export LC_ALL=C # a runtime sorts configuration files by bytes; so do the globs below

readonly PLUGIN=cni-bridge-py
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly checkout
readonly venv=$checkout/.build/venv
readonly dist=$checkout/.build/dist/$PLUGIN

bin_dir=/opt/cni/bin
conf_dir=/etc/cni/net.d
conf=10-bridge.conf
subnet=
build=yes
action=install
demo=no
kind=no
cluster=$PLUGIN
image=
kind_config=$checkout/kind-config.yaml

# Where a bundle for kind's nodes is built, when this image can be had: it runs wherever glibc is as old as here or newer.
readonly build_image=python:3.13-slim-bookworm

usage() {
    cat <<EOF
Usage: ./install.sh [OPTION]...
Build $PLUGIN and install it with a network configuration.

  --bin-dir DIR    where the runtime looks for plugins (default: $bin_dir)
  --conf-dir DIR   where the runtime looks for configurations (default: $conf_dir)
  --subnet CIDR    the pods' subnet, instead of the one in the configuration
  --conf NAME      which file of conf/ to install: $(shipped) (default: $conf)
  --no-build       install what an earlier run built
  --uninstall      take the plugin and its configuration away again
  --demo           after installing, wire two pods in a private namespace and show them
  --kind [NAME]    install on every node of a kind cluster, made first if there is none (default: $cluster);
                   with --uninstall, undo that
  --image IMAGE    the node image of a cluster that --kind makes
  --config FILE    the kind configuration of a cluster that --kind makes (default: kind-config.yaml)
  --help           show this text
EOF
}

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$@" >&2
    exit 1
}

shipped() { (cd "$checkout/conf" && echo *.conf *.conflist); }

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --bin-dir | --conf-dir | --subnet | --conf | --image | --config)
            [ -n "${2-}" ] || fail "$1 needs a value" "try ./install.sh --help"
            ;;&
        --bin-dir) bin_dir=$2 && shift ;;
        --conf-dir) conf_dir=$2 && shift ;;
        --subnet) subnet=$2 && shift ;;
        --conf) conf=$2 && shift ;;
        --no-build) build=no ;;
        --uninstall) action=uninstall ;;
        --demo) demo=yes ;;
        --image) image=$2 && shift ;;
        --config) kind_config=$2 && shift ;;
        --kind)
            kind=yes
            if [ -n "${2-}" ] && [ "${2#-}" = "$2" ]; then cluster=$2 && shift; fi
            ;;
        --help) usage && exit ;;
        *) fail "there is no option $1" "try ./install.sh --help" ;;
        esac
        shift
    done
}

# --- what must be there, asked before anything is changed ---

check_writable() {
    local ancestor=$1
    until [ -e "$ancestor" ]; do ancestor=$(dirname "$ancestor"); done
    [ -d "$ancestor" ] || fail "$ancestor is not a directory"
    [ -w "$ancestor" ] || fail "$(id -un) may not write to $ancestor: run it as root (sudo ./install.sh ...)"
}

# The first Python that is new enough, as a path; nothing if there is none.
find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

# The Debian packages that a purpose takes and that are not there: `building`, or `--kind` where a container builds.
missing_packages() {
    local python
    python=$(find_python)
    if [ -z "$python" ]; then
        echo python3 python3-venv
    else
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    fi
    [ "$1" = building ] || return 0
    command -v objdump >/dev/null || echo binutils
    command -v cc >/dev/null || echo gcc libc6-dev
    [ -n "$python" ] || return 0
    # The executable is a C program with Python's interpreter as a shared library.
    "$python" - 2>/dev/null <<'EOF' || echo "libpython$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-dev"
import ctypes, os, sysconfig
ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))
os.stat(sysconfig.get_path("include") + "/Python.h")
EOF
}

check_packages() {
    local missing
    # Twice, because which libpython is needed is known once Python is there.
    for _ in 1 2; do
        missing=$(missing_packages "$1" | xargs)
        [ -n "$missing" ] || return 0
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "Installing the Debian packages that $1 takes: $missing"
            # shellcheck disable=SC2086 # a list of words
            apt_get_install $missing || fail "apt-get could not install: $missing"
        fi
    done
    missing=$(missing_packages "$1" | xargs)
    [ -z "$missing" ] && return
    if [[ $missing == python3\ * ]]; then
        fail "$1 takes Python 3.11 or newer; $(python3 --version 2>/dev/null || echo 'there is none') here"
    fi
    fail "$1 takes these packages (Debian's names): $missing" \
        "as root: apt-get install $missing"
}

apt_get_install() {
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

check_conf() {
    [[ $conf != */* && -f $checkout/conf/$conf ]] || fail "conf/ has no $conf; it has: $(shipped)"
}

check_subnet() {
    local python
    [ -n "$subnet" ] || return 0
    python=$(command -v python3) || fail "--subnet takes python3 to check it; change conf/$conf instead"
    "$python" - "$subnet" <<'EOF' || exit 1
import ipaddress, sys

try:
    if "/" not in sys.argv[1]:
        raise ValueError("write it with its prefix length, such as 10.22.0.0/16")
    if ipaddress.ip_network(sys.argv[1]).num_addresses < 4:
        raise ValueError("it has no room for a gateway and a pod")
except ValueError as error:
    sys.exit(f"install.sh: --subnet {sys.argv[1]}: {error}")
EOF
}

check_built() { [ -x "$dist/$PLUGIN" ] || fail "nothing has been built yet: run it without --no-build"; }

# --- building ---

# The libraries that a purpose takes, as pyproject.toml has them.
requirements() {
    "$venv/bin/python" - "$checkout/pyproject.toml" "$1" <<'EOF'
import pathlib, sys, tomllib

project = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())["project"]
print(*project["dependencies"], sep="\n")
if sys.argv[2] == "building":
    print(*project["optional-dependencies"]["build"], sep="\n")
EOF
}

make_venv() {
    "$(find_python)" -m venv --clear "$venv"
    "$venv/bin/pip" --quiet --disable-pip-version-check install --requirement <(requirements "$1") ||
        fail "pip could not install what $1 takes; what it said is above"
}

build_bundle() {
    say "Building $PLUGIN in $checkout/.build"
    make_venv building
    PYI_LOG_LEVEL=ERROR "$venv/bin/python" -m PyInstaller --noconfirm \
        --distpath "$checkout/.build/dist" --workpath "$checkout/.build/work" "$checkout/$PLUGIN.spec" ||
        fail "PyInstaller could not build the executable; what it said is above"
}

# --- the plugin ---
#
# The bundle goes into a directory named after its contents, and the plugin's name is a link into it.
# Renaming the link switches at once, and a plugin that a runtime started a moment earlier goes on in
# its own directory. (Replacing the executable itself would break it: it reads itself while it starts.)

fingerprint() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12); }

install_plugin() {
    local version previous directory
    version=.$PLUGIN-$(fingerprint "$dist")
    previous=$(readlink "$bin_dir/$PLUGIN" || true)
    mkdir -p "$bin_dir"
    [ ! -d "$bin_dir/$PLUGIN" ] || fail "$bin_dir/$PLUGIN is a directory: move it away first"
    if [ ! -d "$bin_dir/$version" ]; then
        rm -rf "$bin_dir/$version.new"
        cp -R "$dist" "$bin_dir/$version.new"
        chmod -R u=rwX,go=rX "$bin_dir/$version.new"
        sync -f "$bin_dir"
        mv -T "$bin_dir/$version.new" "$bin_dir/$version"
    fi
    ln -sfn "$version/$PLUGIN" "$bin_dir/$version.link"
    mv -T "$bin_dir/$version.link" "$bin_dir/$PLUGIN"
    # The version that was just replaced stays until the next install: it may still be running.
    for directory in "$bin_dir/.$PLUGIN"-*; do
        case ${directory##*/} in
        "$version" | "${previous%/*}") ;;
        *) rm -rf "$directory" ;;
        esac
    done
    say "Installed $bin_dir/$PLUGIN -> $version/$PLUGIN"
}

uninstall_plugin() {
    local directory
    if [[ $(readlink "$bin_dir/$PLUGIN") == ".$PLUGIN"-* ]]; then
        rm "$bin_dir/$PLUGIN"
        say "Removed $bin_dir/$PLUGIN"
    fi
    for directory in "$bin_dir/.$PLUGIN"-*; do
        rm -rf "$directory"
        say "Removed $directory"
    done
}

# --- the configuration ---

# conf/NAME with the pods' subnet replaced by another.
with_subnet() { sed "s|\(\"subnet\": *\)\"[^\"]*\"|\1\"$2\"|" "$1"; }

is_ours() { grep -qs "\"type\": *\"$PLUGIN\"" "$1"; }

# A name that no runtime picks up: it ends in none of .conf, .conflist and .json.
set_aside() {
    local backup
    backup=$1.bak-$(date -u +%Y%m%dT%H%M%SZ)
    mv -T --backup=numbered "$1" "$backup"
    say "Kept $1 as $backup"
}

install_conf() {
    local target=$conf_dir/$conf new=$conf_dir/.$conf.new other
    mkdir -p "$conf_dir"
    if [ -n "$subnet" ]; then
        with_subnet "$checkout/conf/$conf" "$subnet" >"$new"
    else
        cat "$checkout/conf/$conf" >"$new"
    fi
    for other in $(shipped); do
        if [ "$other" != "$conf" ] && is_ours "$conf_dir/$other"; then set_aside "$conf_dir/$other"; fi
    done
    if [ -e "$target" ] && ! cmp -s "$new" "$target"; then set_aside "$target"; fi
    mv -T "$new" "$target"
    say "Installed $target"
}

uninstall_conf() {
    local name target
    for name in $(shipped); do
        target=$conf_dir/$name
        is_ours "$target" || continue
        if cmp -s <(with_subnet "$target" any) <(with_subnet "$checkout/conf/$name" any); then
            rm "$target"
            say "Removed $target"
        else
            say "$target has been changed since it was installed"
            set_aside "$target"
        fi
    done
}

# Says which configuration a runtime picks: the first in alphabetical order.
tell_choice() {
    local files=("$conf_dir"/*.conf "$conf_dir"/*.conflist "$conf_dir"/*.json) first
    first=$(printf '%s\n' "${files[@]}" | sort | head -n 1)
    if [ "$first" = "$conf_dir/$conf" ]; then
        say "The runtime will now pick $first: it is the first in $conf_dir"
    else
        say "WARNING: the runtime will pick $first, which sorts before $conf: to use $conf, move it away"
    fi
}

# --- the two ways through ---

install() {
    check_conf
    check_subnet
    if [ "$demo" = yes ] && [ "$(id -u)" != 0 ]; then
        fail "the demo makes network namespaces, which takes root: sudo ./install.sh --demo"
    fi
    check_writable "$bin_dir"
    check_writable "$conf_dir"
    if [ "$build" = yes ]; then
        check_packages building
        build_bundle
    fi
    check_built
    CNI_COMMAND=VERSION "$dist/$PLUGIN" </dev/null >/dev/null ||
        fail "the executable that was built does not start here; what it said is above"
    install_plugin
    install_conf
    tell_choice
    if [ "$demo" = yes ]; then "$bin_dir/$PLUGIN" demo; fi
}

uninstall() {
    check_writable "$bin_dir"
    check_writable "$conf_dir"
    uninstall_conf
    uninstall_plugin
}

# --- on the nodes of a kind cluster: see cni_bridge_py/cli/kind.py ---

kind_tool() { PYTHONPATH=$checkout "$venv/bin/python" -m cni_bridge_py.cli.kind "$@" --checkout "$checkout" --name "$cluster"; }

# What is done on nodes is in Python, and takes libraries.
need_venv() {
    if ! "$venv/bin/python" -c 'import netaddr, rich' 2>/dev/null; then
        check_writable "$checkout/.build"
        check_packages --kind
        make_venv --kind
    fi
}

check_kind_tools() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || fail "--kind takes $*; missing: ${missing[*]}"
    docker version --format '{{.Server.Version}}' >/dev/null || fail "docker does not answer; what it said is above"
}

# In a container this very script builds. The checkout goes in and the bundle comes out through a pipe: a daemon
# elsewhere has no directory of ours to mount.
build_bundle_in_container() {
    local built=$checkout/.build/dist.new
    docker image inspect "$build_image" >/dev/null 2>&1 || docker pull --quiet "$build_image" >/dev/null || return 1
    say "Building $PLUGIN in a container of $build_image"
    rm -rf "$built"
    mkdir -p "$built"
    tar -C "$checkout" --exclude='./.*' -c -f - . |
        docker run --rm --interactive "$build_image" sh -euc '
            cd "$(mktemp -d)"
            tar -x -f - --no-same-owner
            ./install.sh --bin-dir installed/bin --conf-dir installed/net.d >&2
            tar -C .build/dist -c -f - .' |
        tar -C "$built" -x -f - --no-same-owner || return 1
    rm -rf "$checkout/.build/dist"
    mv "$built" "$checkout/.build/dist"
}

install_kind() {
    check_kind_tools docker kind kubectl
    [ -f "$kind_config" ] || fail "--config $kind_config: there is no such file"
    if [ "$build" = yes ]; then check_writable "$checkout/.build"; else check_built; fi
    need_venv
    if [ "$build" = yes ] && ! build_bundle_in_container; then
        say "Not built in a container of $build_image: building with the Python of this machine"
        check_packages building
        build_bundle
    fi
    kind_tool install --config "$kind_config" ${image:+--image "$image"}
}

uninstall_kind() {
    check_kind_tools docker kind
    need_venv
    kind_tool uninstall
}

parse_arguments "$@"
if [ "$kind" = yes ]; then action+=_kind; fi
"$action"
