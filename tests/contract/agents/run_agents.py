"""Claude Code and Codex from npm, unmodified, one turn with a tool call each, in front of a foreign backend.

    python tests/contract/agents/run_agents.py NODE_FOLDER     # make contract-agents

NODE_FOLDER holds their packages and a Node.js (`agents/package.json`). The model is that of `model.py`: it asks
for one shell command, which the agent runs, and then says that it is done. What happened is written to
`matrix/results/agents.json`, from where it comes to docs/compatibility.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.contract.agents.model import COMMAND, FINAL, Model
from tests.contract.matrix.page import RESULTS
from tests.replay import Upstream
from tests.running import Modelport

TASK: Final = "Write the file proof.txt with a shell command."
UPSTREAM_KEY: Final = "sk-upstream-0123456789abcdef"
PATHS: Final = {"openai_chat": "/v1", "anthropic": ""}
TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Agent:
    """*command* is shown on the page; `{url}` and `{model}` are put in."""

    name: str
    binary: str
    backend: str
    model: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


AGENTS: Final = (
    Agent(
        "Claude Code",
        "claude",
        "openai_chat",
        "gpt-4.1",
        ("claude", "-p", TASK, "--model", "{model}", "--allowedTools", "Bash", "--output-format", "json"),
        {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_AUTH_TOKEN": "not-needed", "ANTHROPIC_SMALL_FAST_MODEL": "{model}"},
    ),
    Agent(
        "Codex",
        "codex",
        "anthropic",
        "claude-sonnet-4-5",
        (
            "codex",
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "-c",
            'model_provider="modelport"',
            "-c",
            'model_providers.modelport={name="modelport", base_url="{url}/v1", wire_api="responses"}',
            "-m",
            "{model}",
            TASK,
        ),
        {},
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """*rounds* are the requests that reached the vendor with a shell tool; *exchanges* the server's rows."""

    agent: Agent
    version: str
    status: int
    output: str
    proof: str
    rounds: int
    exchanges: list[Mapping[str, Any]]

    @property
    def works(self) -> bool:
        return self.status == 0 and self.proof == "written-through-modelport" and FINAL in self.output


def run(agent: Agent, node: Path) -> Outcome:
    """One turn of *agent* in an empty folder, with nothing of this machine's settings."""
    with tempfile.TemporaryDirectory() as made, Upstream(model := Model()) as upstream:
        folder = Path(made)
        home, work = folder / "home", folder / "work"
        home.mkdir()
        work.mkdir()
        section = (
            f'[providers.vendor]\ndialect = "{agent.backend}"\nbase_url = "{upstream.url}{PATHS[agent.backend]}"\n'
            f'keys = ["env:UPSTREAM_KEY"]\nmodels = ["{agent.model}"]\nprice = {{ input = "1", output = "2" }}\n'
        )
        with Modelport(folder, section, {"UPSTREAM_KEY": UPSTREAM_KEY}) as server:
            named = {"{url}": server.url, "{model}": f"vendor/{agent.model}"}
            environment = {
                "PATH": f"{node / 'node_modules/.bin'}:{os.environ['PATH']}",
                "HOME": str(home),
                "CODEX_HOME": str(home),
                "DISABLE_TELEMETRY": "1",
                "DISABLE_ERROR_REPORTING": "1",
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                **{name: put_in(value, named) for name, value in agent.environment.items()},
            }
            command = [put_in(each, named) for each in agent.command]
            ran = _ran(command, work, environment)
            version = _ran([agent.binary, "--version"], work, environment).stdout.strip()
            exchanges = server.get("/api/v1/exchanges?limit=100").json["data"]
        proof = work / "proof.txt"
        text = proof.read_text("utf-8").strip() if proof.exists() else ""
        return Outcome(agent, version, ran.returncode, ran.stdout + ran.stderr, text, len(model.asked), exchanges)


def _ran(command: list[str], work: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=work,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode() + (late.stderr or b"").decode()
        return subprocess.CompletedProcess(command, 124, output, f"\nnot done within {TIMEOUT_S} s")


def put_in(text: str, named: Mapping[str, str]) -> str:
    for name, value in named.items():
        text = text.replace(name, value)
    return text


def shown(outcome: Outcome) -> str:
    """The command and what it printed, without what changes from run to run."""
    agent = outcome.agent
    place = {"{url}": "http://127.0.0.1:4100", "{model}": f"vendor/{agent.model}"}
    settings = " ".join(f"{name}={put_in(value, place)}" for name, value in agent.environment.items())
    words = " ".join(
        f"'{each}'" if re.search(r"[\s{\"]", each) else each for each in (put_in(e, place) for e in agent.command)
    )
    output = outcome.output
    for pattern, stands_for in (
        (r"/tmp/\S*?/(work|home)", r"/\1"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "ID"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:4100"),
    ):
        output = re.sub(pattern, stands_for, output)
    lines = [line[:400] for line in output.strip().splitlines()][:60]
    return "\n".join([f"$ {settings} {words}".replace("$  ", "$ "), *lines])


def main() -> int:
    node = Path(sys.argv[1]).resolve()
    if not shutil.which("claude", path=str(node / "node_modules/.bin")):
        print(f"{node}: no agents installed here (npm install, see agents/package.json)", file=sys.stderr)
        return 2
    outcomes = [run(agent, node) for agent in AGENTS]
    result = {
        "title": "Coding agents",
        "about": "Unmodified, from npm, with no network but loopback, each in front of a foreign dialect.\n"
        f"One turn: the model asks for `{COMMAND}`, the agent runs it, sends the result back and gets the last word.",
        "date": datetime.now(UTC).date().isoformat(),
        "command": "make contract-agents",
        "columns": ["agent", "version", "endpoint", "backend", "requests", "the command ran", "works"],
        "rows": [
            [
                each.agent.name,
                each.version,
                "/v1/" + ("messages" if each.agent.binary == "claude" else "responses"),
                each.agent.backend,
                str(each.rounds),
                "yes" if each.proof else "no",
                "yes" if each.works else "**no**",
            ]
            for each in outcomes
        ],
        "notes": [
            f"{each.agent.name}: losses reported: {', '.join(sorted(lost)) or 'none'}."
            for each in outcomes
            for lost in [{loss["field"] for row in each.exchanges for loss in row.get("losses") or ()}]
        ],
        "shown": {each.agent.name: shown(each) for each in outcomes},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "agents.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for each in outcomes:
        print(f"{each.agent.name} {each.version}: {'works' if each.works else 'does not work'}")
        if not each.works:
            print(each.output[-3000:])
    return 0 if all(each.works for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
