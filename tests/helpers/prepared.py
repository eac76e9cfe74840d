"""Commands in processes of their own that need not import TensorFlow first.

    python tests/helpers/prepared.py ARGUMENTS OF PYTHON...

A server imports TensorFlow and the commands once and runs nothing of them; each
process is forked from it. It has the working directory, the environment and the
standard streams of who asks, takes signals, ends with its exit code, and can
start others in the same way. Where starting, imports or variables that are read
at import are under test, start Python itself.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import glob
import importlib
import json
import os
import pathlib
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

SOCKET = "BERT_TF_TEST_SERVER"
PID_TO = "BERT_TF_TEST_PID_TO"
AS_TRACED = "BERT_TF_TEST_GRAPHS_AS_TRACED"
WITHOUT_GRAPHS = "BERT_TF_TEST_WITHOUT_GRAPHS"

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))

# Whatever a test puts in its place later.
PYTHON = sys.executable

# In a new process, which needs neither site-packages nor the environment.
CLIENT = [PYTHON, "-S", "-E", __file__]


# Who uses the server: this process, or all workers of the same tests.
_OWNER = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(8).hex()
_FOLDER = os.path.join(tempfile.gettempdir(), f"bert_tf_{_RUN}")
_STARTED: list = []


@functools.cache
def start_server():
    """Starts the server, if nobody has; returns its variables."""
    path = os.path.join(_FOLDER, "socket")
    os.makedirs(_FOLDER, exist_ok=True)
    with open(os.path.join(_FOLDER, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            write_python(pathlib.Path(beside(path)))
            command = [PYTHON, __file__, "--serve", path, str(_OWNER)]
            _STARTED.append(subprocess.Popen(command))
            while not os.path.exists(path):
                assert _STARTED[-1].poll() is None
                time.sleep(0.02)
    return {SOCKET: path}


def environment(given=None):
    """A process's variables with which `CLIENT` finds the server."""
    return {**(os.environ if given is None else given), **start_server()}


def beside(path):
    """A program that is Python to processes that know the server's socket."""
    return os.path.join(os.path.dirname(path), "python")


def python():
    """A program that is Python to scripts run with `environment`."""
    return beside(start_server()[SOCKET])


class Popen(subprocess.Popen):
    """As `subprocess.Popen` of [sys.executable, *arguments]."""

    def __init__(self, arguments, env=None, **options):
        there, here = os.pipe()
        variables = {**environment(env), PID_TO: str(here)}
        words = [*CLIENT, *map(str, arguments)]
        try:
            super().__init__(words, env=variables, pass_fds=[here], **options)
        finally:
            os.close(here)
        with open(there) as pipe:
            self._worker = int(pipe.read())

    def send_signal(self, number):
        if self.poll() is None:
            # It may end in between.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker, number)


def run(arguments, input=None, check=False, capture_output=False, **options):
    """As `subprocess.run` of [sys.executable, *arguments]."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(arguments, **options) as process:
        try:
            out, err = process.communicate(input)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(
        process.args, process.returncode, out, err
    )
    if check:
        done.check_returncode()
    return done


def write_python(path):
    """Writes `python` to another place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(CLIENT)} "$@"\n')
    path.chmod(0o755)


@contextlib.contextmanager
def graphs(are_made):
    """Whether functions become graphs meanwhile, here and in processes."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    value = os.environ.pop(WITHOUT_GRAPHS, None)
    tf.config.run_functions_eagerly(not are_made)
    if not are_made:
        os.environ[WITHOUT_GRAPHS] = "1"
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
        os.environ.pop(WITHOUT_GRAPHS, None)
        if value is not None:
            os.environ[WITHOUT_GRAPHS] = value


# ------------------------------------------------------------------- the client


def ask(arguments):
    """Has a process forked, waits for it, and ends as it does."""
    variables = dict(os.environ)
    path = variables[SOCKET]
    pid_to = int(variables.pop(PID_TO, "-1"))
    request = {"argv": arguments, "cwd": os.getcwd(), "variables": variables}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"."], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as answers:
            pid = answers.readline()
            if pid_to >= 0:
                os.write(pid_to, pid.encode())
                os.close(pid_to)
            code = int(answers.readline())
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


# ------------------------------------------------------------------- the server


def serve(path, owner):
    """Forks a process for each request, until the owner's process has ended."""
    sys.path[:1] = [ROOT, os.path.join(ROOT, "tests")]
    from bert_tf.support import startup

    startup.prepare()
    # It keeps the Python of now, which can give a process more files.
    importlib.import_module("multiprocessing.spawn")
    importlib.import_module("tensorflow")
    for file in sorted(glob.glob(os.path.join(ROOT, "bert_tf", "[!_]*.py"))):
        name, _ = os.path.splitext(os.path.basename(file))
        importlib.import_module(f"bert_tf.{name}")
    startup.load_deferred()
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        listener.listen(64)
        os.rename(f"{path}.new", path)
        while is_alive(owner):
            if not select.select([listener], [], [], 0.5)[0]:
                continue
            connection, _ = listener.accept()
            with connection:
                if not os.fork():
                    listener.close()
                    watch(connection)
                    os._exit(0)
            # Those of earlier requests, if they have ended.
            with contextlib.suppress(ChildProcessError):
                while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                    pass
    shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def is_alive(pid):
    """Whether there is such a process."""
    return os.path.exists(f"/proc/{pid}")


def watch(connection):
    """Starts one process, and tells its number and then its exit code.

    It is killed if who asked for it is.
    """
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile().readline())
    pid = os.fork()
    if not pid:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        # Of other files than the server's.
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        work(**request)
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([connection, ended], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        code = os.waitstatus_to_exitcode(status)
        connection.sendall(f"{code}\n".encode())


def work(argv, cwd, variables):
    """Does what Python does with these arguments, and ends the process."""
    code = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(variables)
        tempfile.tempdir = None  # TMPDIR may be another one.
        folders = variables.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = filter(None, folders)
        sys.executable = beside(variables[SOCKET])
        if AS_TRACED in variables:
            # What the fixture `graphs_as_traced` does in its process.
            change = sys.modules["tensorflow"].config.optimizer
            change.set_experimental_options({"disable_meta_optimizer": True})
        if WITHOUT_GRAPHS in variables:
            sys.modules["tensorflow"].config.run_functions_eagerly(True)
        run_python(*argv)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        else:
            code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_python(first, *rest):
    """python FIRST REST..."""
    if first in ("-c", "-"):
        code, *rest = rest if first == "-c" else (sys.stdin.read(), *rest)
        sys.argv = [first, *rest]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        name, *rest = rest
        module = importlib.import_module(name)
        sys.argv = [module.__file__, *rest]
        module.cli()
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, os.path.dirname(first))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], int(sys.argv[3]))
        sys.exit()
    sys.exit(ask(sys.argv[1:]))
