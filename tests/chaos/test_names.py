"""Name servers that answer half of what they are asked."""

import os
import sys
import textwrap

import psycopg
import pytest

from fleet import binary
from waiting import holds_for

# Has an IPv4 address for every name and says nothing about IPv6 ones. Ends with the node, which started it.
HALF = textwrap.dedent("""
    import ctypes, socket, struct, sys
    ctypes.CDLL(None).prctl(1, 9)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        question, client = server.recvfrom(1000)
        end = 12
        while question[end]:
            end += question[end] + 1
        kind, = struct.unpack(">H", question[end + 1:end + 3])
        with open(sys.argv[1], "a") as file:
            print(kind, file=file)
        if kind == 1:
            head = question[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0)
            server.sendto(head + question[12:end + 5] + struct.pack(">3HIH4B", 0xc00c, 1, 1, 60, 4, 10, 77, 77, 77), client)
    """)

# A network and a view of the file system of its own, with IPv6 addresses, or nobody would ask for such.
OUTSIDE = """#!/bin/sh
PATH=$PATH:/usr/sbin:/sbin
exec unshare -mn sh {folder}/inside.sh "$@"
"""
INSIDE = """
mount --make-rprivate / && mount --bind {folder}/resolv.conf /etc/resolv.conf || exit 99
ip link set lo up && ip address add 2001:db8::1/64 dev lo && ip address add 10.77.77.1/24 dev lo || exit 98
ip route add default dev lo && ip -6 route add default dev lo || exit 97
{python} {folder}/half.py {folder}/asked &
exec {rota} "$@"
"""


def write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_name_with_half_an_answer_ends_no_node_that_went_on_without_it(rota, permitted, tmp_path):
    parts = psycopg.conninfo.conninfo_to_dict(rota.url)
    if not parts["host"].startswith("/"):
        pytest.skip("the server has to be reached by its Unix socket")
    words = {"folder": tmp_path, "python": sys.executable, "rota": os.path.abspath(binary())}
    write(tmp_path / "resolv.conf", "nameserver 127.0.0.1\n")
    write(tmp_path / "half.py", HALF)
    write(tmp_path / "inside.sh", INSIDE.format(**words))
    program = write(tmp_path / "rota", OUTSIDE.format(**words), 0o700)
    # the second host is not needed, and not waited for
    url = psycopg.conninfo.make_conninfo(**{**parts, "host": f"{parts['host']},half.test", "port": f"{parts.get('port', 5432)},1"})
    node = rota.node("n1", ready=False, program=program, database_url=url)
    node.wait_for_line("Task scheduler started")
    assert "28" in (tmp_path / "asked").read_text().split()
    holds_for(node.lives, 6)  # the resolver gives up on the other half after 3 s
