"""dbt's command line on a project that has been parsed already; what Dagster calls in place of ``dbt``.

dbt reads its whole project again, some eight seconds, where the profile differs from that of its last parse, and the
path of the warehouse is part of the profile: a parse in the checkout would be of use to one data folder only. The
parse itself does not depend on the path, and ``ensure_manifest`` has seen to it that it fits the project's files.
"""

from __future__ import annotations

import sys

from ml_assets.config import dbt_target

PARSED = "partial_parse.msgpack"
"""dbt's name for what it keeps of a parsed project."""


def main() -> None:
    """Run dbt with this process's arguments on the parse in its target folder; parses where there is none.

    Exit code as dbt's: 0 all good, 1 a node failed, 2 dbt itself did.
    """
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

    parsed = dbt_target() / PARSED
    manifest = None
    if parsed.exists():
        manifest = Manifest.from_msgpack(parsed.read_bytes())
        manifest.build_flat_graph()
    result = dbtRunner(manifest=manifest).invoke(sys.argv[1:])
    if result.exception is not None:
        print(f"dbt: {result.exception}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if result.success else 1)
