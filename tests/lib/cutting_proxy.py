"""A proxy in front of PostgreSQL that cuts a connection at one chosen request: before the server hears of it, or
right after, so that it is done and nobody is told. The server does not see the cut, as with a dead network."""

import select
import socket
import threading

from wire import Front


class CuttingProxy(Front):
    def __init__(self, url):
        super().__init__(url)
        self.word = None
        self.pairs = {} # client: server
        self.kept = []
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, word, heard):
        """The next request with this word in it."""
        with self.lock:
            self.word, self.heard = word.encode(), heard

    def has_cut(self):
        return self.word is None

    def cut_all(self):
        """Whatever they do right now. How many."""
        with self.lock:
            clients = list(self.pairs)
            for client in clients:
                self._cut(client)
            return len(clients)

    def _cut(self, client):
        self.kept.append(self.pairs.pop(client))
        client.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = self.connect()
            self.pairs[client] = server
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _request(self, client, server, data):
        with self.lock:
            cuts = self.word is not None and self.word in data
            if not cuts or self.heard:
                server.sendall(data)
            if cuts:
                self.word = None
                self._cut(client)

    def _serve(self, client, server):
        try:
            while client in self.pairs:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(1 << 20)
                    if not data:
                        return
                    if client not in self.pairs:
                        return
                    if end is client:
                        self._request(client, server, data)
                    else:
                        client.sendall(data)
        except OSError:
            pass
        finally:
            client.close()
            with self.lock:
                self.pairs.pop(client, None)
            if server not in self.kept:
                server.close()

    def close(self):
        super().close()
        self.cut_all()
        for server in self.kept:
            server.close()
