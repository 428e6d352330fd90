"""A loopback server that serves a folder, well or badly."""

from __future__ import annotations

import contextlib
import http.server
import threading
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        fault = next((fault for part, fault in self.server.faults.items() if part in name), None)
        if isinstance(fault, list):  # one fault a request, then all is well
            fault = fault.pop(0) if fault else None
        if fault is None:
            return super().do_GET()
        if fault == "silence":
            self.server.stopping.wait(30)
        elif fault == "half":
            content = (Path(self.directory) / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "hang up":
            self.close_connection = True
        elif isinstance(fault, bytes):
            self.send_response(200)
            self.send_header("Content-Length", str(len(fault)))
            self.end_headers()
            self.wfile.write(fault)
        else:
            self.send_error(fault)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(folder, faults=None):
    """Yield (address, list of the names asked for); ``faults`` maps parts of names to what goes wrong with them."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: Handler(*arguments, directory=str(folder))
    )
    server.daemon_threads = True
    server.asked, server.faults, server.stopping = [], faults or {}, threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
