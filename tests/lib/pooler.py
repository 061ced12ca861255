"""A pooler in front of PostgreSQL: a client talks to it as to a server, and it gives the client a backend of
its own, or one of two that change with each request, as poolers of transactions do."""

import select
import struct
import threading

from wire import Front


def messages(data, typed=True):
    """Splits bytes into whole protocol messages and the rest."""
    found, head = [], 1 if typed else 0
    while len(data) >= head + 4:
        size = head + struct.unpack("!I", data[head:head + 4])[0]
        if len(data) < size:
            break
        found.append(data[:size])
        data = data[size:]
    return found, data


class Pooler(Front):
    """shared: each request of a client that ends with Sync goes to the other of two backends, unless one of
    all clients has a transaction open on it; what is prepared is prepared on both."""

    def __init__(self, url, shared):
        super().__init__(url)
        self.shared = shared
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _backend(self, startup):
        """A connection that is logged in, and what it said until then."""
        backend = self.connect()
        backend.sendall(startup)
        said = b""
        while not said.endswith(b"Z\0\0\0\5I"):
            data = backend.recv(65536)
            assert data, said
            said += data
        return backend, said

    @staticmethod
    def _disguised(said):
        """With a backend number that is the pooler's own."""
        return b"".join(b"K" + struct.pack("!III", 12, 4242, 1) if message[:1] == b"K" else message
                        for message in messages(said)[0])

    def _serve(self, client):
        backends = []
        try:
            startup = client.recv(65536)
            while startup[4:8] in (struct.pack("!I", 80877103), struct.pack("!I", 80877104)):
                client.sendall(b"N")
                startup = client.recv(65536)
            for _ in range(2 if self.shared else 1):
                backend, said = self._backend(startup)
                backends.append(backend)
            client.sendall(self._disguised(said))
            self._pass(client, backends)
        except OSError:
            pass
        finally:
            for end in (client, *backends):
                end.close()

    def _pass(self, client, backends):
        current, rest, unanswered = 0, b"", []  # unanswered: backends whose next answer nobody waits for
        batch, pending = [], {backend: b"" for backend in backends}
        in_transaction = False
        while True:
            for end in select.select([client, *backends], [], [])[0]:
                data = end.recv(1 << 16)
                if not data:
                    return
                if end is client:
                    whole, rest = messages(rest + data)
                    for message in whole:
                        batch.append(message)
                        if message[:1] not in b"SQX":
                            continue
                        if self.shared and not in_transaction:
                            current = 1 - current
                        if self.shared and any(each[:1] == b"P" for each in batch):
                            other = backends[1 - current]
                            other.sendall(b"".join(each for each in batch if each[:1] in b"PS"))
                            unanswered.append(other)
                        backends[current].sendall(b"".join(batch))
                        batch = []
                    continue
                whole, pending[end] = messages(pending[end] + data)
                for message in whole:
                    if end in unanswered:
                        if message[:1] == b"Z":
                            unanswered.remove(end)
                        continue
                    if message[:1] == b"Z":
                        in_transaction = message[5:6] != b"I"
                    client.sendall(message)
