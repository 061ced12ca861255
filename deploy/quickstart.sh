#!/bin/sh
# From a fresh Debian to three nodes at work: installs what is missing, builds, and runs `rota up`.
# As root or as a user with sudo; may be run again at any time. Arguments go to `rota up`:
#     sh deploy/quickstart.sh --port 8300 --data /srv/rota
set -eu

cd "$(dirname "$0")/.."
. deploy/packages.sh

case ${1:-} in
-h | --help)
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

say "1/3 packages"
packages_install $packages_build $packages_run

say "2/3 build"
if [ ! -f build/build.ninja ]; then
    meson setup build --buildtype=release -Dtests=false >build-setup.log 2>&1 || {
        cat build-setup.log >&2
        die "meson could not set up the build"
    }
    rm -f build-setup.log
fi
ninja -C build

say "3/3 rota up"
exec build/cmd/rota up -f deploy/examples/hello.json --nodes 3 "$@"
