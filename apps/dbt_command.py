"""dbt's command line on a project that has been parsed already; what Dagster calls in place of ``dbt``.

dbt reads its whole project again, some eight seconds, where the profile differs from that of its last parse, and the
path of the warehouse is part of the profile: a parse in the checkout would be of use to one data folder only. The
parse itself does not depend on the path, and ``ensure_manifest`` has seen to it that it fits the project's files.

What is left before the first statement is imports and reading the parse, four seconds on one core. With ``--stand-by
<socket> <process>`` a process does both ahead and then waits for one call, as long as that other process lives; a
call that finds such a process (:func:`ml_assets.config.dbt_stand_by`) hands it its arguments, folder, environment and
output, and ends with its exit code. Without one, or where it has gone, the call does all by itself: a stand-by saves
time and decides nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.config import DBT_PARSE, dbt_stand_by, dbt_target

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunner

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
    sys.exit(_call(_runner(), arguments) if code is None else code)


def _runner() -> dbtRunner:
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

    parsed = dbt_target() / DBT_PARSE
    manifest = None
    if parsed.exists():
        manifest = Manifest.from_msgpack(parsed.read_bytes())
        manifest.build_flat_graph()
    return dbtRunner(manifest=manifest)


def _call(runner: dbtRunner, arguments: list[str]) -> int:
    result = runner.invoke(arguments)
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


def _stand_by(at: Path, parent: int) -> int:
    """Get everything ready, wait for one call at the socket ``at``, make it; no longer than the parent lives."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(at))
        # a call may come while this is still getting ready: it waits here and loses nothing
        door.listen(1)
        runner = _runner()
        # dbt itself imports the adapter only once a call has begun
        importlib.import_module("dbt.adapters.duckdb")
        door.settimeout(_WATCH_SECONDS)
        while True:
            try:
                line, _ = door.accept()
                break
            except TimeoutError:
                if os.getppid() != parent:
                    return 0
        # from here on another call has to look elsewhere
        at.unlink(missing_ok=True)
    with line:
        line.setblocking(True)
        head, streams, _, _ = socket.recv_fds(line, _LENGTH, 2)
        call = json.loads(_exactly(line, int.from_bytes(head, "big")))
        for descriptor, stream in enumerate(streams, start=1):
            os.dup2(stream, descriptor)
            os.close(stream)
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
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
