"""A network of the tests' own: each member in a network namespace, all joined by a router, in which packets
are lost at will. Nothing of it is seen outside, and it goes with the process that made it, however that ends:
a namespace lives as long as the process that holds it."""

import contextlib
import ctypes
import os
import shutil
import subprocess

import psycopg

from fleet import Node
from postgres import PORT, PrivateServer
from processes import die_with_parent

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# Packets are lost on the way, not by who sends them: those of members in `mute` never arrive, those for
# members in `deaf` neither.
FAULTS = """
table inet fault {
    set mute { type ifname; }
    set deaf { type ifname; }
    chain forward {
        type filter hook forward priority 0;
        iifname @mute drop
        oifname @deaf drop
    }
}
"""


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def why_not():
    """Why this machine permits no networks of our own; None if it does."""
    for program in ("ip", "nft"):
        if shutil.which(program, path=_path()) is None:
            return f"there is no program `{program}` (packages iproute2, nftables)"
    try:
        Network().close()
    except (OSError, subprocess.SubprocessError) as error:
        return f"this machine permits no network namespaces: {error}"
    return None


def _path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Namespace:
    def __init__(self):
        def begin():
            _check(libc.unshare(CLONE_NEWNET), "unshare")
            die_with_parent()

        self.holder = subprocess.Popen(["sleep", "infinity"], preexec_fn=begin, stdin=subprocess.DEVNULL)
        self.file = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.run("ip", "link", "set", "lo", "up")

    @contextlib.contextmanager
    def inside(self):
        """What is started and which sockets are opened meanwhile is in this namespace."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _check(libc.setns(self.file, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(libc.setns(before, CLONE_NEWNET), "setns")
            os.close(before)

    def run(self, *command, input=None):
        with self.inside():
            done = subprocess.run(command, input=input, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env={**os.environ, "PATH": _path()}, check=False)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)}: {done.stdout.strip()}")

    def close(self):
        os.close(self.file)
        self.holder.kill()
        self.holder.wait(10)


class Member(Namespace):
    """One machine of the network."""

    def __init__(self, network, number):
        super().__init__()
        self.network = network
        self.port = f"port{number}"  # the router's end of its cable
        self.address = f"10.77.{number}.2"
        router = f"10.77.{number}.1"
        network.router.run("ip", "link", "add", "name", self.port, "type", "veth", "peer", "name", "cable")
        network.router.run("ip", "link", "set", "cable", "netns", str(self.holder.pid))
        network.router.run("ip", "address", "add", f"{router}/30", "dev", self.port)
        network.router.run("ip", "link", "set", self.port, "up")
        self.run("ip", "address", "add", f"{self.address}/30", "dev", "cable")
        self.run("ip", "link", "set", "cable", "up")
        self.run("ip", "route", "add", "default", "via", router)

    def lose(self, *what):
        """From now on its packets are lost: "mute" those it sends, "deaf" those it is sent."""
        self.network.router.run("nft", "-f", "-", input="".join(
            f"add element inet fault {kind} {{ {self.port} }}\n" for kind in what))

    def cut_off(self):
        self.lose("mute", "deaf")

    def heal(self):
        self.network.router.run("nft", "-f", "-", input="".join(
            f"add element inet fault {kind} {{ {self.port} }}\ndelete element inet fault {kind} {{ {self.port} }}\n"
            for kind in ("mute", "deaf")))


class Network:
    def __init__(self):
        self.router = Namespace()
        self.members = []
        try:
            with self.router.inside():
                with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
                    file.write("1")
            self.router.run("nft", "-f", "-", input=FAULTS)
            self.member()
        except OSError:
            self.close()
            raise

    def member(self):
        self.members.append(Member(self, len(self.members) + 1))
        return self.members[-1]

    def close(self):
        for member in self.members:
            member.close()
        self.router.close()


class NetworkServer(PrivateServer):
    """A PostgreSQL on a machine of the network. The tests reach it by its Unix socket, whatever the network
    does."""

    def __init__(self, member, **settings):
        self.member = member
        super().__init__(**{**settings, "listen_addresses": "*"})

    def initialise(self):
        super().initialise()
        self.permit()

    def permit(self):
        with open(os.path.join(self.data, "pg_hba.conf"), "a", encoding="ascii") as file:
            file.write("host all all 10.77.0.0/16 trust\nhost replication all 10.77.0.0/16 trust\n")

    def start(self, wait=True):
        with self.member.inside():
            super().start(wait)


class Standby(NetworkServer):
    """A copy of a server that follows it."""

    def __init__(self, member, primary, **settings):
        self.primary = primary
        super().__init__(member, **{**primary.settings, **settings})

    def initialise(self):
        with self.member.inside():
            self.run("pg_basebackup", "-D", self.data, "-R", "-c", "fast", "--no-sync",
                     "-d", f"host={self.primary.member.address} port={PORT} user=postgres connect_timeout=5")

    def promote(self):
        self.execute("SELECT pg_promote()")


class NetworkNode(Node):
    """`rota node` on a machine of the network."""

    def __init__(self, rota, name, member, **settings):
        self.member = member
        super().__init__(rota, name, **settings)

    def start(self):
        with self.member.inside():
            return super().start()

    def _http(self, url):
        with self.member.inside():
            return Node._http(url)


def address_of(rota, *servers, **more):
    """The connection string of a database, by the network."""
    return psycopg.conninfo.make_conninfo(
        host=",".join(server.member.address for server in servers), port=PORT, user="postgres", dbname=rota.name, **more)
