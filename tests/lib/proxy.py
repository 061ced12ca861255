"""A proxy in front of PostgreSQL that loses answers: what the client has sent is done, but it never hears of
it, as its connection is cut first; or it is cut before the server hears of it."""

import os
import random
import select
import threading

from wire import Front

READY = b"Z\x00\x00\x00\x05"  # ReadyForQuery: the end of an answer


class LossyProxy(Front):
    """Each request of a client is cut with probability `loss` while armed, half of them after the server
    has answered. One thread for all connections."""

    def __init__(self, url, loss, seed):
        super().__init__(url)
        self.rng = random.Random(seed)
        self.loss = loss
        self.armed = False
        self.dead = False  # nobody gets through
        self.cuts = {"answer lost": 0, "request lost": 0}
        self.pairs = {}  # each socket's other end; client sockets are in self.clients
        self.clients = set()
        self.doomed = set()  # server sockets whose answer is not passed on
        self.held = None  # while answers are held: of each server socket the bytes, and whether it has ended
        self.kept = []  # server sockets whose client was cut off without a word
        self.waker, self.woken = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _accept(self):
        client, _ = self.listener.accept()
        if self.dead:
            client.close()
            return
        server = self.connect()
        self.pairs[client], self.pairs[server] = server, client
        self.clients.add(client)

    def _close(self, end):
        for each in (end, self.pairs.pop(end, None)):
            if each is not None:
                self.pairs.pop(each, None)
                self.clients.discard(each)
                self.doomed.discard(each)
                each.close()

    def _pass(self, end):
        other = self.pairs[end]
        try:
            data = end.recv(1 << 20)
            if self.held is not None and end not in self.clients:
                self.held.setdefault(end, []).append(data)
            elif not data:
                self._close(end)
            elif end in self.clients:
                self._request(end, other, data)
            elif end not in self.doomed:
                other.sendall(data)
            elif READY in data:
                self.cuts["answer lost"] += 1
                self._close(end)
        except OSError:
            self._close(end)

    def _request(self, client, server, data):
        if self.dead:
            self._close(client)
        elif server in self.doomed or not self.armed or self.rng.random() >= self.loss:
            server.sendall(data)
        elif self.rng.random() < 0.5:
            server.sendall(data)
            self.doomed.add(server)
        else:
            self.cuts["request lost"] += 1
            self._close(client)

    def cut_off_clients(self):
        """As a network does: the clients see the end of their connections, the server does not."""
        os.write(self.woken, b"c")

    def hold_answers(self):
        """From now on what the server says is late, its ends of connections too."""
        os.write(self.woken, b"h")

    def release_answers(self):
        os.write(self.woken, b"r")

    def _release(self):
        held, self.held = self.held, None
        for server, parts in held.items():
            if server in self.pairs:
                self.pairs[server].sendall(b"".join(parts))
                if not parts[-1]:
                    self._close(server)

    def _command(self, what):
        if what == b"c":
            self._cut_off()
        elif what == b"h":
            self.held = {}
        elif what == b"r":
            self._release()

    def _cut_off(self):
        for client in list(self.clients):
            server = self.pairs.pop(client)
            del self.pairs[server]
            self.kept.append(server)
            client.close()
        self.clients.clear()

    def _run(self):
        while True:
            ended = {end for end, parts in (self.held or {}).items() if not parts[-1]}
            ready, _, _ = select.select([self.listener, self.waker, *(self.pairs.keys() - ended)], [], [])
            if self.waker in ready:
                what = os.read(self.waker, 1)
                if what == b"x":
                    return
                self._command(what)
                continue
            for end in ready:
                if end is self.listener:
                    self._accept()
                elif end in self.pairs:
                    self._pass(end)

    def close(self):
        os.write(self.woken, b"x")
        self.thread.join(10)
        for end in list(self.pairs):
            self._close(end)
        for server in self.kept:
            server.close()
        super().close()
        os.close(self.waker)
        os.close(self.woken)
