"""A proxy in front of PostgreSQL through which everything goes but notifications; or that has
LISTEN refused."""

import select
import threading

from pooler import messages
from wire import Front


class DeafProxy(Front):
    def __init__(self, url, refuse=False):
        self.refuse = refuse
        super().__init__(url)
        self.dropped = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server, rest = self.connect(), b""
        try:
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
