"""Serves the bare repositories below a directory over smart HTTP with dulwich's own WSGI application.

Prints its address once it listens.
"""

import os
import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.server import FileSystemBackend
from dulwich.web import make_wsgi_chain


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Backend(FileSystemBackend):
    def open_repository(self, path):
        return super().open_repository(os.fsdecode(path).lstrip("/"))


application = make_wsgi_chain(Backend(sys.argv[1]))
server = make_server("127.0.0.1", 0, application, server_class=Server, handler_class=WSGIRequestHandler)
print(f"listening 127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
