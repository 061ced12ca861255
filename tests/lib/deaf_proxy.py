"""A proxy in front of PostgreSQL through which everything goes but notifications; or that has
LISTEN refused."""

import os
import select
import socket
import tempfile
import threading

import psycopg

from pooler import messages


class DeafProxy:
    def __init__(self, url, refuse=False):
        self.refuse = refuse
        self.server = psycopg.conninfo.conninfo_to_dict(url)
        self.directory = tempfile.mkdtemp(prefix="rota-test-deaf-", dir="/tmp")
        self.url = psycopg.conninfo.make_conninfo(**{**self.server, "host": self.directory, "port": 5432})
        self.dropped = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.directory, ".s.PGSQL.5432"))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server, rest = socket.socket(socket.AF_UNIX), b""
        try:
            server.connect(os.path.join(self.server["host"], f".s.PGSQL.{self.server.get('port', 5432)}"))
            while True:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    if end is client:
                        server.sendall(data.replace(b"LISTEN ", b"LISTEM ") if self.refuse else data)
                        continue
                    whole, rest = messages(rest + data)
                    self.dropped += sum(message[:1] == b"A" for message in whole)
                    client.sendall(b"".join(message for message in whole if message[:1] != b"A"))
        except OSError:
            pass
        finally:
            client.close()
            server.close()

    def close(self):
        self.listener.close()
        os.unlink(os.path.join(self.directory, ".s.PGSQL.5432"))
        os.rmdir(self.directory)
