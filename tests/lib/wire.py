"""What stands between a client and PostgreSQL: a socket to listen on, one to the server."""

import os
import socket
import tempfile

import psycopg


class Front:
    """A Unix socket in a folder of its own; `url` leads to it and on to the server of the other one."""

    def __init__(self, url):
        self.server = psycopg.conninfo.conninfo_to_dict(url)
        self.directory = tempfile.mkdtemp(prefix="rota-test-front-", dir="/tmp")
        self.url = psycopg.conninfo.make_conninfo(**{**self.server, "host": self.directory, "port": 5432})
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.directory, ".s.PGSQL.5432"))
        self.listener.listen()

    def connect(self):
        """A connection to the server itself."""
        return connect(self.server)

    def close(self):
        self.listener.close()
        os.unlink(os.path.join(self.directory, ".s.PGSQL.5432"))
        os.rmdir(self.directory)


def connect(server):
    """By a connection string as an object: a Unix socket, or TCP."""
    host, port = server["host"], int(server.get("port", 5432))
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(host, f".s.PGSQL.{port}"))
    return connection
