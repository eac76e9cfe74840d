"""The commands and the Python of README and docs, as they stand there.

A block is indented text or a fence; what is run of a block are its statements,
in a folder that has the names which pages give to data and models
(`helpers.miniature`).
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import urllib.request
from typing import NamedTuple

from helpers import prepared
from helpers.paths import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
_BLOCK = re.compile(
    r"^```(?P<fence>\w*)\n(?P<code>(?s:.*?))^```$"
    r"|^#+ (?P<heading>.*)$"
    r"|(?P<indented>(?:^    .*\n)+)",
    re.M,
)
_COMMAND = re.compile(
    r"python (?:-m bert_tf\.|run_scripts/paper/)(\w+)(?:.*\\\n)*.*"
)


class Block(NamedTuple):
    """Indented text, whose kind is "", or a fence of a language."""

    page: str
    heading: str
    kind: str
    text: str


def blocks(page, *headings):
    """Blocks of a page in order, or of those of its sections."""
    heading = ""
    for found in _BLOCK.finditer(PAGES[page]):
        heading = found["heading"] or heading
        text = found["code"] or found["indented"]
        if text and (not headings or heading in headings):
            text = re.sub("^    ", "", text, flags=re.M)
            if found["code"]:
                text = found["code"]
            yield Block(page, heading, found["fence"] or "", text)


def statements(text):
    """Commands in a block: loops, quotes and what is read from `<<` are one."""
    made = ""
    for line in text.splitlines(keepends=True):
        made += line
        code = re.sub(r"\s#.*", "", made)
        heredoc = re.search(r"<<'(\w+)'", made)
        is_open = (
            code.rstrip().endswith(("\\", "|"))
            or code.count("'") % 2
            or (made.startswith("for ") and "\ndone" not in made)
            or (heredoc and f"\n{heredoc[1]}\n" not in made)
        )
        if not is_open:
            yield made.rstrip("\n")
            made = ""
    assert not made, made


class Run:
    """Runs blocks of pages one after the other.

    Args:
        folder: has what pages name, and `tmp`, which is their /tmp.
        more: flags after those of a command, by its name; the last one wins.
        rest: what stands for the `...` of a command, by its name.
        skip: beginnings of statements that are not to be run.
        variables: of the environment.
        served: functions of a method, a path and a body that answer for models,
            by name.
        graphs: whether trainings make graphs, which pays for long ones; what
            exports does.

    Attributes:
        names: of the Python.
        outputs: what statements printed, by statement.
    """

    def __init__(
        self,
        folder,
        *,
        more=None,
        rest=None,
        skip=(),
        variables=None,
        served=None,
        graphs=False,
    ):
        self.folder = pathlib.Path(folder)
        self.tmp = self.folder / "tmp"
        self.more, self.rest, self.skip = more or {}, rest or {}, tuple(skip)
        self.variables = variables or {}
        self.served, self.graphs = dict(served or {}), graphs
        self.names: dict = {}
        self.outputs: dict = {}
        self._servers = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._servers.close()

    def page(self, page, *headings, python=True):
        """Runs all blocks, with or without Python; returns itself."""
        for block in blocks(page, *headings):
            if block.kind == "python" and python:
                self.python(block.text, page)
            elif not block.kind and is_shell(block):
                for one in statements(block.text):
                    if not one.startswith(self.skip):
                        self.statement(one)
        return self

    def here(self, text):
        """A text of a page, with this folder's tmp for /tmp."""
        return re.sub(r"(?<![\w.])/tmp/", f"{self.tmp}/", text)

    def python(self, code, page):
        """Runs Python, with the names of what ran before."""
        with contextlib.chdir(self.folder):
            exec(compile(self.here(code), page, "exec"), self.names)

    def statement(self, text):
        """Runs a command; a server goes on, and `curl` asks it."""
        whole = _COMMAND.sub(self._complete, text)
        if text.startswith("python -m bert_tf.serve "):
            self._serve(self.here(whole).rstrip("& "))
        elif text.startswith("curl "):
            self.outputs[text] = self._curl(text)
        else:
            self.outputs[text] = self._shell(self.here(whole))

    def _complete(self, found):
        name = found[1]
        line = found[0]
        if "..." in line:
            line = line.replace("...", self.rest[name], 1)
        return f"{line} {self.more.get(name, '')}".rstrip()

    def _environment(self, command):
        given = prepared.environment(os.environ | self.variables)
        programs = pathlib.Path(prepared.python()).parent
        given["PATH"] = f"{programs}{os.pathsep}{given['PATH']}"
        if not self.graphs and "export" not in command:
            given[prepared.WITHOUT_GRAPHS] = "1"
        return given

    def _shell(self, command):
        done = subprocess.run(
            ["bash", "-ec", command],
            env=self._environment(command),
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _serve(self, command):
        _, *words = shlex.split(command)
        name = pathlib.Path(words[2]).parts[-1]
        if name == "export":  # Named after the training.
            name = pathlib.Path(words[2]).parts[-2]
        server = prepared.Popen(
            [*words, "--port=0", "--no_trial"],
            env=self._environment("export"),
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        self._servers.callback(_end, server)
        port = re.search(r":(\d+)/v1", server.stdout.readline())[1]
        self.served[name] = _Asking(port)

    def _curl(self, text):
        """The JSON of an answer."""
        _, address, *data = shlex.split(text)
        path = address.partition("localhost:8501")[2]
        body = None
        if data:
            option, sent = data
            assert option == "-d"
            body = json.loads(sent)
        named = re.match(r"/v1/models/(\w+)", path)
        name = named[1] if named else body["model"]
        return self.served[name]("POST" if data else "GET", path, body)


class _Asking:
    """Asks a server that runs at a port of this machine."""

    def __init__(self, port):
        self.address = f"http://localhost:{port}"

    def __call__(self, method, path, body):
        sent = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            self.address + path, sent, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


def _end(server):
    server.terminate()
    server.stdout.close()
    server.wait(60)


# What indented blocks are that are no commands: their beginnings.
_SHOWN = (
    "{",
    "errors, support\n",
    "texts -> ",
    "flags -> ",
    "w T² H(",
    "layer  entropy",
    "bank: 16 ",
    "We walked along ",
    "table",  # A caption: the Python before it is left out.
    "MODEL/1/",
    "texts: 1000 ",
    "score(span) = ",
    "m = 0.9 m",
    "w = w - rate",
)


def is_shell(block):
    """Whether a block is commands, which it is if nothing says otherwise."""
    if block.page == "docs/errors.md":  # It shows what commands say.
        return block.text.startswith(("python ", "bert-tf"))
    return not block.text.startswith(_SHOWN)
