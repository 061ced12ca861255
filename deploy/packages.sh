# Which Debian packages rota needs, and how they get there. Sourced by deploy/quickstart.sh and
# tests/run.sh; nothing is installed that is there already.
# shellcheck shell=sh

packages_build="gcc libc6-dev meson ninja-build pkg-config libpq-dev libevent-dev libcjson-dev uthash-dev"
packages_run="postgresql tzdata curl"
packages_test="libcmocka-dev python3 python3-pytest python3-psycopg procps spin nftables iproute2"
packages_full="valgrind clang libclang-rt-dev"

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

package_is_there() {
    case $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) in
    installed) return 0 ;;
    esac
    case $1 in # another version, or one that was not installed by dpkg, is as good
    postgresql) for initdb in /usr/lib/postgresql/*/bin/initdb; do [ -x "$initdb" ] && return 0; done ;;
    esac
    return 1
}

packages_missing() {
    for package in "$@"; do
        package_is_there "$package" || printf '%s ' "$package"
    done
}

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -- "$@"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# Debian's server package creates and starts a cluster "main" of its own, which nobody asked for.
# The file is there during our installation only; existing clusters are not touched.
no_cluster=/etc/postgresql-common/createcluster.d/rota-quickstart.conf

forbid_main_cluster() {
    as_root sh -c "mkdir -p '${no_cluster%/*}' && echo 'create_main_cluster = off' >'$no_cluster'"
}

allow_main_cluster() {
    as_root rm -f "$no_cluster"
}

packages_install() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        die "This is no Debian: install the equivalents of these packages by hand, then build with
meson (see README.md): $*"
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "These packages are missing: $missing
Run this script as root, or install sudo, or ask root to: apt-get install $missing"
    fi
    say "Installing from Debian: $missing"
    as_root true || die "Root is needed to install packages. Ask root to: apt-get install $missing"
    set -- $missing # split into words
    case " $missing" in *" postgresql "*)
        trap allow_main_cluster EXIT
        trap 'exit 130' INT TERM HUP
        forbid_main_cluster
        ;;
    esac
    ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || as_root apt-get update -q
    if ! apt_install "$@"; then
        say "Once more, with fresh package lists"
        as_root apt-get update -q
        apt_install "$@" || die "apt-get could not install: $missing"
    fi
    case " $missing" in *" postgresql "*)
        allow_main_cluster
        trap - EXIT INT TERM HUP
        ;;
    esac
}
