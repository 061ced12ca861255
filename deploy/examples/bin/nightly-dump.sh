#!/bin/sh
# Dumps a PostgreSQL database into a new file and removes old ones.
#   DUMP_DIRECTORY  where the files go [/tmp/rota-dumps]
#   DUMP_KEEP_DAYS  older dumps are removed [14]
#   DUMP_DATABASE   connection string or URI; better without a password (~/.pgpass has a place for
#                   it); default: the database of a running `rota up`
set -eu
umask 077

directory=${DUMP_DIRECTORY:-/tmp/rota-dumps}
keep_days=${DUMP_KEEP_DAYS:-14}
database=${DUMP_DATABASE:-}

if [ -z "$database" ]; then
    up=${XDG_DATA_HOME:-$HOME/.local/share}/rota
    [ "$(id -u)" -ne 0 ] || up=/var/lib/rota/up
    # the password goes by the environment: arguments are for everybody to see
    database=$(sed 's|^\([a-z]*://[^:/@]*\):[^@]*@|\1@|' "$up/url")
    PGPASSWORD=$(cat "$up/password")
    export PGPASSWORD
fi

mkdir -p "$directory"
file=$directory/rota-$(date -u +%Y%m%dT%H%M%SZ)-${ROTA_RUN_ID:-0}.dump
trap 'rm -f "$file.part"' EXIT # a dump is there whole or not at all
pg_dump --format=custom --no-password --file="$file.part" --dbname="$database"
mv "$file.part" "$file"

removed=$(find "$directory" -maxdepth 1 -name 'rota-*.dump' -mtime "+$keep_days" -print -delete | wc -l)
echo "$file: $(wc -c <"$file") bytes; $removed old dumps removed"
