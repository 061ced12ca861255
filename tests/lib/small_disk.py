"""A PostgreSQL whose data lie on a small disk of its own: a file system in memory that nobody else sees, and
that goes with the process that holds it."""

import ctypes
import os
import subprocess

from postgres import PrivateServer
from processes import die_with_parent
from waiting import wait_until

CLONE_NEWNS = 0x20000
libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why this machine permits no disk of our own; None if it does."""
    done = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return f"this machine permits no mounts: {done.stdout.strip()}" if done.returncode != 0 else None


class SmallDiskServer(PrivateServer):
    def __init__(self, size_mib, **settings):
        self.size_mib = size_mib
        self.holder = None
        super().__init__(**{"max_wal_size": "32MB", "min_wal_size": "32MB", "shared_buffers": "16MB", **settings})

    def prepare(self):
        disk = os.path.join(self.directory, "disk")
        os.mkdir(disk)
        user, group = self.account["user"], self.account["group"]
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c",
             f"mount -t tmpfs -o size={self.size_mib}m,uid={user},gid={group},mode=700 none {disk} && exec sleep infinity"],
            stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.disk = f"/proc/{self.holder.pid}/root{disk}"
        wait_until(lambda: os.stat(self.disk).st_uid == user, 5, "the disk to be mounted")
        self.data = os.path.join(disk, "data")
        self.prefix = ["nsenter", "-t", str(self.holder.pid), "-m", "setpriv", f"--reuid={user}", f"--regid={group}",
                       "--clear-groups", "--pdeathsig", "QUIT", "--"]
        self.account = {}

    def fill(self):
        """Not a byte is left."""
        with open(os.path.join(self.disk, "filler"), "ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(b"x" * size) > 0:
                        pass
                except OSError:
                    pass

    def free(self):
        os.unlink(os.path.join(self.disk, "filler"))

    def close(self):
        super().close()
        self.holder.kill()
        self.holder.wait(10)
