# Which Debian packages rota needs, and how they get there. Sourced by deploy/quickstart.sh and
# tests/run.sh; nothing is installed that is there already.
# shellcheck shell=sh

packages_build="gcc libc6-dev meson ninja-build pkg-config libpq-dev libevent-dev libcurl4-openssl-dev libssl-dev zlib1g-dev libcjson-dev uthash-dev"
packages_run="postgresql tzdata curl"
packages_test="libcmocka-dev iproute2 jq nftables pgbouncer python3 python3-pytest python3-psycopg nodejs openssl procps prometheus spin"
packages_full="valgrind clang libclang-rt-dev"

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

package_is_there() {
    case $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) in
    installed) return 0 ;;
    esac
    case $1 in # another version, or one that was not installed by dpkg, is as good
    nodejs) command -v node >/dev/null && return 0 ;;
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

# The same for the pooler, of which tests need the program alone: its service is neither started nor
# enabled by our installation; one that was there before is not touched.
forbid_pooler_service() {
    [ ! -d /run/systemd/system ] || as_root systemctl --quiet mask pgbouncer.service
}

disable_pooler_service() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl --quiet unmask pgbouncer.service
        as_root systemctl --quiet disable pgbouncer.service 2>/dev/null || :
    elif [ -x /etc/init.d/pgbouncer ]; then # where no policy-rc.d forbade it, it runs by now
        as_root /etc/init.d/pgbouncer stop >/dev/null 2>&1 || :
        as_root update-rc.d pgbouncer disable >/dev/null 2>&1 || :
    fi
}

# Nor is the monitoring, of which tests need the programs alone.
forbid_prometheus_service() {
    [ ! -d /run/systemd/system ] || as_root systemctl --quiet mask prometheus.service
}

disable_prometheus_service() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl --quiet unmask prometheus.service
        as_root systemctl --quiet disable prometheus.service 2>/dev/null || :
    elif [ -x /etc/init.d/prometheus ]; then
        as_root /etc/init.d/prometheus stop >/dev/null 2>&1 || :
        as_root update-rc.d prometheus disable >/dev/null 2>&1 || :
    fi
}

# What must not come with the packages $1, and what was done for that.
installation_begin() {
    case " $1" in *" postgresql "*) forbid_main_cluster ;; esac
    case " $1" in *" pgbouncer "*) forbid_pooler_service ;; esac
    case " $1" in *" prometheus "*) forbid_prometheus_service ;; esac
}

installation_end() {
    case " $1" in *" postgresql "*) allow_main_cluster ;; esac
    case " $1" in *" pgbouncer "*) disable_pooler_service ;; esac
    case " $1" in *" prometheus "*) disable_prometheus_service ;; esac
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
    trap 'installation_end "$missing"' EXIT
    trap 'exit 130' INT TERM HUP
    installation_begin "$missing"
    ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || as_root apt-get update -q
    if ! apt_install "$@"; then
        say "Once more, with fresh package lists"
        as_root apt-get update -q
        apt_install "$@" || die "apt-get could not install: $missing"
    fi
    installation_end "$missing"
    trap - EXIT INT TERM HUP
}
