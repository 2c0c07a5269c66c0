"""schemathesis against the server's own OpenAPI document: whatever it allows, and what it does not, is no 5xx.

python tests/hostile/fuzz_api.py [EXAMPLES]      (make fuzz)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.hostile.vendors import answer, providers  # noqa: E402  a script, which finds its package first
from tests.replay import Upstream  # noqa: E402
from tests.running import Modelport  # noqa: E402

MASTER: Final = "mp-master-fuzz-0123456789"
EXAMPLES: Final = "20"
CHECKS: Final = "not_a_server_error"
REFUSALS: Final = (r"^/api/v1/ledger/verify$", r"^/v1/\{path\}$")
"""Left out: one that takes as long as the books, and what goes to the provider whatever it is."""


def main(examples: str) -> int:
    """The status of schemathesis: 0 where nothing was found."""
    with tempfile.TemporaryDirectory() as folder, Upstream(answer) as upstream:
        config = f'[auth]\nmaster_key = "{MASTER}"\n[limits]\nrequests_per_connection = 1000000\n'
        with Modelport(Path(folder), config + providers(upstream.url)) as modelport:
            command = [sys.executable, "-m", "schemathesis.cli", "run", f"{modelport.url}/openapi.json"]
            command += ["--header", f"Authorization: Bearer {MASTER}", "--checks", CHECKS, "--max-examples", examples]
            command += ["--request-timeout", "30", "--continue-on-failure", "--workers", "1"]
            for path in REFUSALS:
                command += ["--exclude-path-regex", path]
            status = subprocess.run(command, cwd=folder, check=False).returncode
            if "Traceback" in modelport.log:
                sys.stderr.write(modelport.log[-20_000:])
                return 1
            return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else EXAMPLES))
