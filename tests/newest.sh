#!/usr/bin/env bash
# Brings the newest releases that tests and benchmarks compare with, from Debian sid into .build/newest/PACKAGE:
# unpacked, not installed. apt gets a configuration of its own, so /etc/apt and dpkg's database stay as they are.
# What is there stays there. What cannot be had now is said, and asked for again next time; that is no failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

newest=$PWD/.build/newest

# The releases that the tests' tables speak of. When sid has moved on, they get what sid has (see tests/newest.py).
declare -A releases=(
    [containernetworking-plugins]=1.9.1
    [containerd]=2.1.9
)

missing_packages() {
    local package
    for package in "${!releases[@]}"; do
        [ "$(cat "$newest/$package/pinned" 2>/dev/null)" = "${releases[$package]}" ] || echo "$package"
    done
}

update_index() {
    mkdir -p "$newest/apt/lists/partial" "$newest/apt/cache/archives/partial"
    cat >"$newest/apt/apt.conf" <<END
Dir::State::lists "$newest/apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$newest/apt/cache";
Dir::Etc::sourcelist "$newest/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Default-Release;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "20";
END
    cat >"$newest/apt/sources.list" <<END
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main
END
    # --error-on=any: an index that cannot be had would be a warning.
    apt-get --config-file "$newest/apt/apt.conf" -qq --error-on=any update
}

# Into PACKAGE.new first: what is called PACKAGE is whole.
fetch() {
    local package=$1 new=$newest/$1.new version
    rm -rf "$new" && mkdir "$new" &&
        (cd "$new" && apt-get --config-file "$newest/apt/apt.conf" -qq download "$package") &&
        version=$(dpkg-deb --field "$new"/*.deb Version) &&
        dpkg-deb --extract "$new"/*.deb "$new" &&
        rm "$new"/*.deb &&
        echo "${version%%[+-]*}" >"$new/release" &&
        echo "${releases[$package]}" >"$new/pinned" &&
        rm -rf "${newest:?}/$package" &&
        mv "$new" "$newest/$package"
}

fetch_missing() {
    local package release
    echo "Fetching from Debian sid: $*"
    update_index || return
    for package in "$@"; do
        fetch "$package" || return
        read -r release <"$newest/$package/release"
        if [ "$release" != "${releases[$package]}" ]; then
            echo "Debian sid has $package $release now; the tests know ${releases[$package]}" >&2
        fi
    done
}

mkdir -p "$newest"
exec {lock}>"$newest/lock"
flock "$lock"
mapfile -t packages < <(missing_packages)
if [ ${#packages[@]} -gt 0 ]; then
    fetch_missing "${packages[@]}" || echo "Not to be had from Debian sid now: ${packages[*]}; tests that need them are skipped" >&2
    rm -rf "$newest/apt" "$newest"/*.new
fi
