"""An OCSP responder over HTTP that answers from an authority's database."""

import http.server
import os
import threading

from certificates import openssl


class Responder:
    def __init__(self, folder):
        self.folder = folder
        self.issuer = None
        self.asked, self.broken, self.days = 0, False, 2
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers.get("Content-Length", 0))
                outer.answer(self, self.rfile.read(size))

            def do_GET(self):
                import base64
                import urllib.parse
                text = urllib.parse.unquote(self.path.strip("/"))
                outer.answer(self, base64.b64decode(text))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                      Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,),
                         daemon=True).start()

    def answer(self, handler, request):
        self.asked += 1
        if self.broken:
            handler.send_error(503)
            return
        stem = os.path.join(self.folder, f"ocsp-{self.asked}")
        with open(stem + ".req", "wb") as f:
            f.write(request)
        openssl("ocsp", "-index",
                os.path.join(self.issuer.folder, "index.txt"), "-CA",
                self.issuer.crt, "-rsigner", self.issuer.crt, "-rkey",
                self.issuer.key, "-reqin", stem + ".req", "-respout",
                stem + ".resp", "-ndays", self.days)
        with open(stem + ".resp", "rb") as f:
            body = f.read()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/ocsp-response")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
