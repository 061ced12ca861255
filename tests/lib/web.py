"""A web server of the tests' own: each path is a function, every request is kept."""

import http.server
import threading
import time


class Web:
    """Paths to functions (handler, request) that write an answer; others are answered with 200 and `ok`."""

    def __init__(self, host="127.0.0.1"):
        self.requests = []
        self.paths = {}
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                request = {"method": self.command, "path": self.path, "headers": dict(self.headers.items()),
                           "body": self.rfile.read(length).decode()}
                with web.lock:
                    web.requests.append(request)
                    web.at_once += 1
                    web.most_at_once = max(web.most_at_once, web.at_once)
                try:
                    web.paths.get(self.path.split("?")[0], web.ok)(self, request)
                except OSError:
                    self.close_connection = True
                finally:
                    with web.lock:
                        web.at_once -= 1

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = serve

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def ok(handler, request):
        Web.answer(handler, 200, "ok")

    @staticmethod
    def answer(handler, status, text="", **headers):
        body = text.encode() if isinstance(text, str) else text
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def status(self, path, status, text="", **headers):
        self.paths[path] = lambda handler, request: self.answer(handler, status, text, **headers)

    def redirect(self, path, to, status=302):
        self.status(path, status, "moved", Location=to)

    def endless(self, path, first=b""):
        """Headers, then bytes until nobody takes them any more."""
        def serve(handler, request):
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(first)
            while True:
                handler.wfile.write(b"x" * 65536)

        self.paths[path] = serve

    def silent(self, path, gate):
        """No answer before the gate (an Event) is open."""
        def serve(handler, request):
            gate.wait(60)
            self.answer(handler, 200, "late")

        self.paths[path] = serve

    def raw(self, path, data, pause=0):
        """These bytes instead of an answer, then the end of the connection; byte by byte with a pause."""
        def serve(handler, request):
            handler.close_connection = True
            for chunk in [data] if not pause else [data[i:i + 1] for i in range(len(data))]:
                handler.wfile.write(chunk)
                handler.wfile.flush()
                time.sleep(pause)

        self.paths[path] = serve

    def taken(self, path):
        with self.lock:
            return [request for request in self.requests if request["path"].split("?")[0] == path]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
