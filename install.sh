#!/usr/bin/env bash
# Builds the plugin, and installs it where the container runtimes look.
# This script finds what building needs: a Python, packages, libraries. cni_bridge_py/installer/ does the installing.
[ -f "$0" ] || { echo 'install.sh: run it in a checkout: ./install.sh' >&2 && exit 1; } # curl ... | sh
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh install.sh
set -euo pipefail
shopt -s nullglob
export LC_ALL=C
umask 022

readonly PLUGIN=cni-bridge-py
checkout=$(dirname "$(realpath "$0")")
readonly checkout
readonly venv=$checkout/.build/venv
readonly dist=$checkout/.build/dist

# Debian has the static library that a static executable needs; 12 is the oldest Debian whose Python is new enough.
readonly build_image=debian:12

given=      # the options of this call
for_node=(--shipped "$checkout/conf") # the options that are passed on to cni_bridge_py/installer/
conf=
python=
cluster=$PLUGIN
image=
kind_config=$checkout/kind-config.yaml

usage() {
    cat <<EOF
Usage: ./install.sh [OPTION]...
Build $PLUGIN, and install it and a network configuration where the container runtimes of this machine look.

  --subnet CIDR    the pods' subnet, or two with a comma for IPv4 and IPv6 (default: as installed, or 10.22.0.0/16)
  --mtu BYTES      the pods' MTU (default: as installed, or the uplink's if that is below 1500)
  --conf NAME      the file of conf/ to install: $(shipped)
                   (default: as installed, or the one that suits this machine)
  --bin-dir DIR    install the plugin into DIR (default: where the runtimes look)
  --conf-dir DIR   install the configuration into DIR (default: where the runtimes look)
  --prefix DIR     install the command for people into DIR/bin and DIR/lib (default: /usr/local)
  --force          install even if this would harm pods
  --no-build       install what an earlier run built
  --build-only     build, but install nothing
  --build-in-container
                   build in a container of $build_image (docker): for a machine without Python, or with an older Debian
  --demo           wire two pods on a private node and show them; without --install, install nothing
  --install        with --demo: install, too
  --uninstall      remove the plugin, its configuration and its command
  --purge          with --uninstall: also remove the bridge, the packet filter's tables, leases and backups
  --yes            install missing Debian packages without asking
  --kind [NAME]    install on every node of the kind cluster NAME, and make it if there is none (default: $cluster);
                   with --uninstall, undo that
  --image IMAGE    the node image of a cluster that --kind makes
  --config FILE    the kind configuration of a cluster that --kind makes (default: kind-config.yaml)
  -h, --help       show this text
EOF
}

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$@" >&2
    exit 1
}

shipped() { (cd "$checkout/conf" && echo *.conf *.conflist); }

# --- options ---

given() { [[ $given == *" $1 "* ]]; }

parse_arguments() {
    local option value
    while [ $# -gt 0 ]; do
        option=$1 value=
        shift
        if [[ $option == --*=* ]]; then
            value=${option#*=} option=${option%%=*}
            case $option in
            --subnet | --mtu | --conf | --bin-dir | --conf-dir | --prefix | --image | --config | --kind) ;;
            *) fail "there is no option $option that takes a value" "try ./install.sh --help" ;;
            esac
            [ -n "$value" ] || fail "$option needs a value" "try ./install.sh --help"
            set -- "$value" "$@"
        fi
        case $option in
        --subnet | --mtu | --conf | --bin-dir | --conf-dir | --prefix | --image | --config)
            if [ -z "${1-}" ] || [[ $1 == -* ]]; then fail "$option needs a value" "try ./install.sh --help"; fi
            value=$1
            shift
            ;;
        esac
        given+=" $option "
        case $option in
        --bin-dir | --conf-dir | --prefix) for_node+=("$option" "$(realpath --canonicalize-missing -- "$value")") ;;
        --conf) conf=$value && for_node+=("$option" "$value") ;;
        --subnet | --mtu) for_node+=("$option" "$value") ;;
        --force | --purge) for_node+=("$option") ;;
        --image) image=$value ;;
        --config) kind_config=$value ;;
        --kind) if [ -n "${1-}" ] && [[ $1 != -* ]]; then cluster=$1 && shift; fi ;;
        --no-build | --build-only | --build-in-container | --demo | --install | --uninstall | --yes) ;;
        -h | --help) usage && exit ;;
        *) fail "there is no option $option" "try ./install.sh --help" ;;
        esac
    done
}

# refuse_with OPTION OTHER...: fail if OPTION was given together with one of the others.
refuse_with() {
    local option=$1 other
    shift
    given "$option" || return 0
    for other; do
        if given "$other"; then fail "$option and $other do not go together" "try ./install.sh --help"; fi
    done
}

refuse_contradictions() {
    local places=(--bin-dir --conf-dir --prefix) of_installing=(--subnet --mtu --conf --force --install) option
    refuse_with --uninstall "${of_installing[@]}" --demo --no-build --build-only --build-in-container --image --config
    refuse_with --kind "${places[@]}" "${of_installing[@]}" --demo --build-only --purge
    refuse_with --build-only "${places[@]}" "${of_installing[@]}" --demo --no-build
    refuse_with --no-build --build-in-container
    if given --demo && ! given --install; then
        for option in "${places[@]}" "${of_installing[@]}"; do
            if given "$option"; then fail "--demo installs nothing, so $option needs --install as well"; fi
        done
    fi
    if given --purge && ! given --uninstall; then fail "--purge goes with --uninstall"; fi
    for option in --image --config; do
        if given "$option" && ! given --kind; then fail "$option goes with --kind"; fi
    done
    refuse_conf
}

refuse_conf() {
    if [ -z "$conf" ]; then return; fi
    if [[ $conf == *.yaml ]]; then
        fail "$conf is a configuration for kind, not for a network: ./install.sh --kind --config conf/$conf"
    fi
    [[ $conf != */* && -f $checkout/conf/$conf ]] || fail "conf/ has no $conf; it has: $(shipped)"
}

# --- what building needs: found out before anything is changed ---

has_apt() { command -v apt-get >/dev/null; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# has PYTHON THING: whether the build can use this Python. The command for people needs its shared library. The plugin
# needs its static library, with certain modules inside: many Pythons, such as pyenv's, keep these in separate files.
has() {
    case $2 in
    venv) "$1" -c 'import ensurepip, venv' ;;
    shared) "$1" -c 'import ctypes, os, sysconfig
ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))
os.stat(sysconfig.get_path("include") + "/Python.h")' ;;
    static) "$1" -c 'import os, sysconfig
os.stat(os.path.join(sysconfig.get_config_var("LIBPL"), sysconfig.get_config_var("LIBRARY")))' ;;
    modules) "$1" -c 'import sys
sys.exit(not {"_socket", "_struct", "array", "fcntl", "math", "select"} <= {*sys.builtin_module_names})' ;;
    esac 2>/dev/null
}

# Sets $python to the first Python in PATH that has everything. If there is none: to Debian's, because packages can
# complete it, or else to the first that is new enough.
choose_python() {
    local each first='' debians=''
    while read -r each; do
        is_new_enough "$each" || continue
        if has "$each" static && has "$each" modules && has "$each" shared && has "$each" venv; then
            python=$each && return
        fi
        [ -n "$first" ] || first=$each
        if [ "$each" = /usr/bin/python3 ] && has_apt; then debians=$each; fi
    done <<<"$(type -aP python3 python3.13 python3.12 python3.11)"
    python=${debians:-$first}
}

# The Debian packages that are missing.
missing_packages() {
    command -v objdump >/dev/null || echo binutils
    command -v cc >/dev/null || echo gcc libc6-dev
    if [ -z "$python" ]; then
        echo python3 python3-venv libpython3-dev
        return
    fi
    has "$python" venv || echo python3-venv
    if ! has "$python" shared || { has_apt && ! has "$python" static; }; then
        echo "libpython$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-dev"
    fi
}

need_packages() {
    local missing
    choose_python
    missing=$(missing_packages | xargs)
    if [ -z "$missing" ]; then return; fi
    if [ -z "$python" ] && ! has_apt; then fail_for_python; fi
    if [ "$(id -u)" != 0 ] || ! has_apt; then
        fail "building needs these packages (Debian's names): $missing" "as root, run: apt-get install $missing"
    fi
    if [ -z "$python" ]; then
        apt update
        debian_has_new_python || fail_for_python
    fi
    say "Building needs these Debian packages: $missing"
    ask "Install them?" || fail "nothing was changed"
    apt update
    # shellcheck disable=SC2086 # a list of words
    apt install $missing
    choose_python
    missing=$(missing_packages | xargs)
    [ -z "$missing" ] || fail "apt-get installed these packages, but what they should provide is missing: $missing"
}

fail_for_python() {
    fail "building needs Python 3.11 or newer; this machine has $(python3 --version 2>/dev/null || echo 'none')" \
        "Debian 12, Ubuntu 24.04 and newer have it; with docker, run: ./install.sh --build-in-container"
}

debian_has_new_python() {
    [[ $(apt-cache show --no-all-versions python3 2>/dev/null) =~ Version:\ ([0-9]+)\.([0-9]+) ]] || return 1
    [ "${BASH_REMATCH[1]}" -gt 3 ] || [ "${BASH_REMATCH[2]}" -ge 11 ]
}

# Asks only if somebody can answer.
ask() {
    local answer
    if given --yes || ! [ -t 0 ] || ! [ -t 1 ]; then return 0; fi
    read -r -p "$1 [Y/n] " answer && [[ -z $answer || $answer == [yY]* ]]
}

# apt COMMAND [PACKAGE]...: apt-get, as soon as no other package manager is running; waits for ten minutes at most.
apt() {
    local said told='' until=$((SECONDS + 600))
    until said=$(DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends "$@" 2>&1 </dev/null 9<&-); do
        if [[ $said != *"ould not get lock"* && $said != *"nable to lock"* && $said != *"nable to acquire"* ]] ||
            [ "$SECONDS" -ge "$until" ]; then
            fail "apt-get $* failed:" "$said"
        fi
        [ -n "$told" ] || say "Waiting for another package manager to finish"
        told=yes
        sleep 2
    done
}

# --- building ---

hash_of() { sha256sum | cut -d ' ' -f 1; }

# The Python libraries that a purpose needs, as pyproject.toml has them.
requirements() {
    "$venv/bin/python" - "$checkout/pyproject.toml" "$1" <<'EOF'
import pathlib, sys, tomllib

project = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())["project"]
print(*project["dependencies"], sep="\n")
optional = project["optional-dependencies"]
if sys.argv[2] != "running":
    print(*optional["build"], sep="\n")
if sys.argv[2] == "--kind":
    print(*optional["agent"], sep="\n")
EOF
}

# make_venv PURPOSE: makes it, unless the same Python has made it before for the same libraries.
make_venv() {
    local made_of
    made_of=$({ echo "$1 $python" && "$python" -VV && cat "$checkout/pyproject.toml"; } | hash_of)
    if [ "$(cat "$venv/made-of" 2>/dev/null)" = "$made_of" ]; then return; fi
    say "Getting the Python libraries that $1 needs, into $venv"
    "$python" -m venv --clear "$venv"
    requirements "$1" >"$venv/requirements.txt"
    "$venv/bin/pip" --quiet --disable-pip-version-check install --requirement "$venv/requirements.txt" ||
        fail "pip could not install what $1 needs; its message is above"
    echo "$made_of" >"$venv/made-of"
}

sources() {
    (cd "$checkout" && find "$PLUGIN.spec" pyproject.toml bundle cni_bridge_py -type f -not -name '*.pyc' -print0 |
        sort -z | xargs -0 sha256sum)
}

build_here() {
    local made_of shell status=0
    made_of=$({ sources && cat "$venv/made-of"; } | hash_of)
    if [ "$(cat "$dist/made-of" 2>/dev/null)" = "$made_of" ]; then
        say "Nothing to build: nothing has changed since the last build"
        return
    fi
    rm -rf "$dist"
    say "Building, 1 of 2: the command for people"
    (cd "$checkout" && PYI_LOG_LEVEL=ERROR "$venv/bin/python" -m PyInstaller --noconfirm \
        --distpath "$dist" --workpath "$checkout/.build/work" "$PLUGIN.spec") ||
        fail "PyInstaller could not build the command; its message is above"
    (cd "$checkout" && "$venv/bin/python" -m bundle.man >"$dist/$PLUGIN.1")
    for shell in bash zsh fish; do
        (cd "$checkout" && "$venv/bin/python" -m cni_bridge_py completion $shell >"$dist/completion.$shell")
    done
    say "Building, 2 of 2: the plugin"
    (cd "$checkout" && "$venv/bin/python" -m bundle.build --output "$dist/$PLUGIN") || status=$?
    case $status in
    0) ;;
    3) tell_slow ;;
    *) fail "the plugin could not be built; the reason is above" ;;
    esac
    echo "$made_of" >"$dist/made-of"
}

tell_slow() {
    say "NOTE: $python has no static library, so the command for people is also the plugin: it works, but starts slower." \
        "Debian's and Ubuntu's libpython3-dev has the library; with docker, ./install.sh --build-in-container uses it."
}

# Runs this script in a container. The checkout goes in, and what was built comes out, through a pipe: a docker daemon on
# another machine could not mount our directories.
build_in_container() {
    local built=$checkout/.build/dist.new
    docker image inspect "$build_image" >/dev/null 2>&1 || docker pull --quiet "$build_image" >/dev/null || return 1
    say "Building $PLUGIN in a container of $build_image"
    rm -rf "$built"
    mkdir -p "$built"
    tar -C "$checkout" --exclude='./.*' -c -f - . |
        docker run --rm --interactive "$build_image" sh -euc '
            cd "$(mktemp -d)"
            tar -x -f - --no-same-owner
            ./install.sh --build-only >&2
            tar -C .build/dist -c -f - .' |
        tar -C "$built" -x -f - --no-same-owner || return 1
    rm -rf "$dist"
    mv "$built" "$dist"
}

need_docker() {
    command -v docker >/dev/null || fail "$1 needs docker, which is not here"
    docker version --format '{{.Server.Version}}' >/dev/null || fail "docker does not answer; its message is above"
}

build() {
    if given --build-in-container; then
        need_docker --build-in-container
        build_in_container || fail "a container of $build_image could not build it; the reason is above"
        return
    fi
    need_packages
    make_venv building
    # Refuse early, before the build, which takes long.
    if installs; then people install --check "${for_node[@]}"; fi
    build_here
}

check_built() { [ -x "$dist/command-line/command-line" ] || fail "nothing has been built yet: run it without --no-build"; }

# --- the ways through ---

# The command for people: from source if its libraries are there, else as it was built, else as it is installed.
people() {
    local each
    if ! has_libraries; then
        for each in "$dist/command-line/command-line" "/usr/local/lib/$PLUGIN"/*/command-line; do
            if "$each" --version >/dev/null 2>&1; then
                "$each" "$@"
                return
            fi
        done
        choose_python
        [ -n "$python" ] || fail_for_python
        make_venv running
    fi
    PYTHONPATH=$checkout "$venv/bin/python" -m cni_bridge_py "$@"
}

has_libraries() { "$venv/bin/python" -c 'import netaddr, pyroute2, rich' 2>/dev/null; }

installs() { ! given --build-only && { given --install || ! given --demo; }; }

# Two runs at once would build into one directory.
lock_checkout() {
    exec 9<"$checkout"
    if ! flock --nonblock 9; then
        say "Another install.sh is running in $checkout: waiting for it"
        flock 9
    fi
}

install() {
    if given --demo && [ "$(id -u)" != 0 ]; then
        fail "the demo makes network namespaces, which needs root: sudo ./install.sh --demo"
    fi
    given --no-build || build
    check_built
    if given --build-only; then say "Built $dist"; fi
    if installs; then people install --built "$dist" "${for_node[@]}"; fi
    if given --demo; then demo; fi
}

demo() {
    local plugin=$dist/$PLUGIN
    [ -f "$plugin" ] || plugin=$dist/command-line/command-line
    people demo --plugin "$plugin"
    installs || say "Nothing was installed. To install: sudo ./install.sh"
}

uninstall() { people uninstall "${for_node[@]}"; }

# --- a kind cluster: see cni_bridge_py/cli/kind.py ---

kind_tool() { PYTHONPATH=$checkout "$venv/bin/python" -m cni_bridge_py.cli.kind "$@" --checkout "$checkout" --name "$cluster"; }

# kind.py needs Python libraries, and so does the agent's image.
need_kind_libraries() {
    choose_python
    [ -n "$python" ] || fail "--kind needs Python 3.11 or newer"
    make_venv --kind
}

need_kind_tools() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || fail "--kind needs $*; missing: ${missing[*]}"
    need_docker --kind
}

install_kind() {
    need_kind_tools docker kind kubectl
    [ -f "$kind_config" ] || fail "--config $kind_config: there is no such file"
    if given --no-build; then
        check_built
    elif given --build-in-container; then
        build_in_container || fail "a container of $build_image could not build it; the reason is above"
    else
        need_packages
    fi
    need_kind_libraries
    if ! given --no-build && ! given --build-in-container; then build_here; fi
    kind_tool install --config "$kind_config" ${image:+--image "$image"}
}

uninstall_kind() {
    need_kind_tools docker kind kubectl
    kind get clusters 2>/dev/null | grep -qxF "$cluster" || fail "there is no kind cluster $cluster"
    need_kind_libraries
    kind_tool uninstall
}

parse_arguments "$@"
refuse_contradictions
lock_checkout
action=install
if given --uninstall; then action=uninstall; fi
if given --kind; then action+=_kind; fi
"$action"
