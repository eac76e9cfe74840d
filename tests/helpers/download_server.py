"""A small released model, and a server that has its zip."""

import http.server
import io
import threading
import zipfile

CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 3000,
}


def zip_of(files, folder="uncased_L-2_H-128_A-2/"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(folder + name, content)
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; the attributes say how well."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/model.zip"
        self.content = content
        self.etag = '"first"'
        self.headers = {}  # Further ones, sent with every answer.
        self.statuses = []  # Answers to give before any other, in turn.
        self.cuts = []  # After how many bytes to hang up, in turn.
        self.stalls = []  # After how many bytes to fall silent, in turn.
        self.ranges = True
        self.checks_if_range = True
        self.tells_length = True
        self.pause = 0.0  # Seconds between two pieces of 4 KiB.
        self.asked = []  # The Range of every request.
        self.conditions = []  # The If-Range of every request.
        self.ended = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        server.conditions.append(self.headers.get("If-Range"))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        start, status = 0, 200
        same = self.headers.get("If-Range") == server.etag
        if asked and server.ranges and (same or not server.checks_if_range):
            start, status = int(asked[6:].rstrip("-")), 206
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        self.send_response(status)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        if status == 206:
            end, total = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        if server.stalls:
            self.wfile.write(body[: server.stalls.pop(0)])
            self.wfile.flush()
            server.ended.wait(10)
            return
        try:
            for at in range(0, len(body), 4096):
                self.wfile.write(body[at : at + 4096])
                if server.pause and server.ended.wait(server.pause):
                    return
        except OSError:
            pass  # The one who asked has hung up.


def assert_whole(target, model_files):
    found = {p.name: p.read_bytes() for p in target.iterdir()}
    assert found == model_files
