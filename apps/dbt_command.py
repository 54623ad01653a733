"""dbt's command line on a project that has been parsed already; what Dagster calls in place of ``dbt``.

dbt reads its whole project again, some eight seconds, where the profile differs from that of its last parse, and the
path of the warehouse is part of the profile: a parse in the checkout would be of use to one data folder only. The
parse itself does not depend on the path, and ``ensure_manifest`` has seen to it that it fits the project's files.

What is left before the first statement is imports, reading the parse and building what dbt builds once a process, seven
seconds on one core. With ``--stand-by <socket> <process>`` a process does all that ahead and then waits for calls, as
long as that other process lives. A call that finds such a process (:mod:`ml_assets.dbt_environment`) hands over its
arguments, folder, environment and output; a fork of the waiting process makes the call, and the call ends with its exit
code. Without one, or where it has gone, the call does all by itself: a stand-by saves time and decides nothing.

dbt words every event for its console, ten for each it then writes there: an eighth of a call's time. Its console is
switched off here, and events are written as they are announced, those for developers of dbt left out.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.dbt_environment import DBT_PARSE, DBT_STAND_BY, dbt_stand_by, dbt_target, dbt_writes_json
from ml_assets.garbage import kept_for_good

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg

_WATCH_SECONDS = 1.0
_LENGTH = 8


def main() -> None:
    """Run dbt with this process's arguments on the parse in its target folder; parses where there is none.

    Exit code as dbt's: 0 all good, 1 a node failed, 2 dbt itself did.
    """
    arguments = sys.argv[1:]
    if arguments[:1] == ["--stand-by"]:
        sys.exit(_stand_by(Path(arguments[1]), int(arguments[2])))
    waiting = dbt_stand_by()
    code = _hand_over(waiting, arguments) if waiting is not None else None
    sys.exit(_call(_runner(_parse()), arguments) if code is None else code)


def _parse() -> bytes | None:
    """The parse in the target folder of this process; None where there is none."""
    parsed = dbt_target() / DBT_PARSE
    return parsed.read_bytes() if parsed.exists() else None


def _runner(parse: bytes | None) -> dbtRunner:
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

    manifest = None
    if parse is not None:
        manifest = Manifest.from_msgpack(parse)
        manifest.build_flat_graph()
    return dbtRunner(manifest=manifest, callbacks=[_say])


def _say(event: EventMsg) -> None:
    """Write one event of dbt as its console would: as JSON where the caller reads JSON, else in words."""
    if event.info.level == "debug":
        return
    from dbt_common.events.functions import env_scrubber, msg_to_json

    words = msg_to_json(event) if dbt_writes_json() else event.info.msg  # type: ignore[attr-defined]
    try:
        print(env_scrubber(words), flush=True)
    except BrokenPipeError:
        # whoever reads is dead. An error here would end a thread that dbt waits for, and the call would hold the
        # warehouse for ever; ended at once, what it had begun is not committed
        os._exit(2)


def _call(runner: dbtRunner, arguments: list[str]) -> int:
    result = runner.invoke(["--log-level", "none", *arguments])
    if result.exception is not None:
        print(f"dbt: {result.exception}", file=sys.stderr)
        return 2
    return 0 if result.success else 1


def _hand_over(waiting: Path, arguments: list[str]) -> int | None:
    """Exit code of the call as the waiting process made it; None where none is waiting."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(waiting))
        except OSError:
            return None
        call = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
        # the other process writes where this one would: to the same pipe or terminal
        socket.send_fds(line, [len(call).to_bytes(_LENGTH, "big")], [1, 2])
        line.sendall(call)
        answer = line.recv(1)
    if not answer:
        print("dbt: the process that made this call ended before it answered.", file=sys.stderr)
        return 2
    return answer[0]


@contextlib.contextmanager
def standing_by(project: Path) -> Iterator[None]:
    """Within this context a process waits for this process's dbt calls on the project; at its end none is left.

    On Linux only: elsewhere a fork of a process that has loaded this much may not live, and calls do all by themselves.
    """
    if sys.platform != "linux":
        yield
        return
    # a short path: sockets have names of a hundred characters at most, data folders any
    with tempfile.TemporaryDirectory(prefix="bcrs-dbt-") as folder:
        at = Path(folder) / "calls"
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "bcrs-dbt"), "--stand-by", str(at), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=project,
        )
        os.environ[DBT_STAND_BY] = str(at)
        try:
            yield
        finally:
            os.environ.pop(DBT_STAND_BY, None)
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _stand_by(at: Path, parent: int) -> int:
    """Get everything ready, then have every call at the socket ``at`` made by a fork, as long as the parent lives."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(at))
        # a call may come while this is still getting ready: it waits here and loses nothing
        door.listen()
        # forks would copy what they search for garbage
        with kept_for_good():
            ready = _parse()
            runner = _runner(ready)
            if runner.manifest is not None:
                _warm_up(runner)
                _compile_macros(runner.manifest, door)
        door.settimeout(_WATCH_SECONDS)
        while os.getppid() == parent:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            try:
                line, _ = door.accept()
            except TimeoutError:
                continue
            with line:
                # a fork, because dbt keeps much of a call in its modules: every call meets the state made ready
                if os.fork() == 0:
                    # it ends before its garbage, some thirty megabytes, is worth the search
                    gc.disable()
                    code = 2
                    try:
                        door.close()
                        code = _answer(line, runner, ready)
                    except Exception:
                        # the caller's output by now: without this nobody would learn why the call has no answer
                        traceback.print_exc()
                    finally:
                        os._exit(code)
    return 0


def _warm_up(runner: dbtRunner) -> None:
    # builds the adapter and the schemas of dbt's configuration without a statement to the warehouse
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        places = ["--log-path", folder, "--target-path", folder, "--profiles-dir", "."]
        runner.invoke(["--quiet", "--no-write-json", "list", "--resource-type", "seed", *places])


def _compile_macros(manifest: Manifest, door: socket.socket) -> None:
    # a call would compile the hundred it uses, a tenth of its time; all five hundred take two seconds, if nobody calls
    from dbt_common.clients.jinja import template_cache

    for macro in manifest.macros.values():
        is_called, _, _ = select.select([door], [], [], 0)
        if is_called:
            break
        template_cache.get_node_template(macro)


def _answer(line: socket.socket, runner: dbtRunner, ready: bytes | None) -> int:
    """Make the call that comes over ``line`` with its arguments, folder, environment and output; its exit code."""
    line.setblocking(True)
    head, streams, _, _ = socket.recv_fds(line, _LENGTH, 2)
    call = json.loads(_exactly(line, int.from_bytes(head, "big")))
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    parse = _parse()
    if parse != ready:
        # the project has been parsed anew since
        runner = _runner(parse)
    ended = threading.Event()
    threading.Thread(target=_stop_with, args=(line, ended), daemon=True).start()
    code = _call(runner, call["arguments"])
    ended.set()
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        line.sendall(bytes([code]))
    return code


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(size - len(parts))
        if not part:
            raise ConnectionError("The call ended before it had said what it wants.")
        parts += part
    return bytes(parts)


def _stop_with(line: socket.socket, ended: threading.Event) -> None:
    """Interrupt this process, as dbt expects to be interrupted, when the caller is gone before the call has ended."""
    with contextlib.suppress(OSError):
        if not line.recv(1) and not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)
