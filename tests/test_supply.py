"""What is built, shipped and updated is what was agreed: hashes, licences, workflows, the containers' limits."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.measuring import LEAST_FILE, LEAST_TOTAL, shortfalls
from tools.mutation import SUBJECTS, is_explained, is_sql_in_another_case
from tools.supply import ALLOWED, LOCK, PAGE, differences, everywhere, is_allowed, licence, listed, locked

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = [LOCK, ROOT / "docker/build.lock", ROOT / "tools/checks.lock"]
WORKFLOWS: Final = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in ROOT.glob(".github/workflows/*.yml")}
JOBS: Final = {f"{flow}.{name}": job for flow, it in WORKFLOWS.items() for name, job in it["jobs"].items()}
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WEEK_DAYS: Final = 7


# --- locks


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_one_version_and_its_hashes(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text("utf-8").strip())

    assert entries
    assert [each for each in entries if not re.match(r"[a-z0-9-]+==\S+ ", each)] == []
    assert [each for each in entries if "--hash=sha256:" not in each] == []


def test_what_builds_the_wheel_is_locked_and_runs_no_hook() -> None:
    build, hatch = PROJECT["build-system"], PROJECT["tool"]["hatch"]["build"]
    names = {re.split(r"[<>=]", each)[0] for each in build["requires"]}

    assert build["build-backend"] == "hatchling.build"
    assert names == {"hatchling"}
    assert names <= locked((ROOT / "docker/build.lock").read_text("utf-8")).keys()
    assert set(hatch) == {"targets"}
    assert {name: set(target) for name, target in hatch["targets"].items()} == {
        "wheel": {"packages"},
        "sdist": {"include"},
    }


def test_nothing_runs_when_python_starts() -> None:
    """Neither we nor a package of the lock brings a `.pth` file or a module that Python imports by itself."""
    started = {"sitecustomize.py", "usercustomize.py"}
    names = [*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "tests", "tools"]
    ours = [path for name in names for path in (ROOT / name).rglob("*")]
    theirs = [file for name in locked(LOCK.read_text("utf-8")) for file in _files(name)]

    assert len(theirs) > 1000
    assert not (ROOT / "setup.py").exists()
    assert [path for path in [*ours, *theirs] if path.suffix == ".pth" or path.name in started] == []


def _files(name: str) -> list[Any]:
    try:
        return list(distribution(name).files or [])
    except PackageNotFoundError:
        return []  # for another platform


def test_image_and_release_install_by_hash_and_wheels_only() -> None:
    dockerfile, makefile = (ROOT / "docker/Dockerfile").read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    installs = re.findall(r"pip [^&]*?install ((?:[^&\n]|\\\n)*)", dockerfile)

    assert len(installs) == 3
    assert [
        each for each in installs if "--require-hashes --only-binary :all:" not in each and "dist/" not in each
    ] == []
    assert "pip wheel --no-deps --no-build-isolation" in dockerfile
    assert "install --require-hashes --only-binary :all: --requirement $(2)" in makefile
    assert '--exclude-newer "$(AGE)"' in makefile
    assert re.search(r"^AGE = 7 days$", makefile, re.MULTILINE)


# --- licences and the SBOM


def test_every_locked_package_has_a_licence_that_is_allowed() -> None:
    """`make licences` writes the page."""
    told = listed(PAGE.read_text("utf-8"))

    assert told.keys() == locked(LOCK.read_text("utf-8")).keys()
    assert {name: said for name, said in told.items() if not is_allowed(said)} == {}


def test_the_page_tells_the_licences_that_the_packages_tell() -> None:
    """Those that are installed here in the locked version."""
    told = listed(PAGE.read_text("utf-8"))
    versions = locked(LOCK.read_text("utf-8"))
    here = [name for name in told if _files(name) and distribution(name).version == versions[name]]
    theirs = {name: licence(distribution(name)) for name in here}

    assert {name: said for name, said in theirs.items() if said != told[name]} == {}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-or-later", False),
        ("MIT OR GPL-2.0-only", False),
        ("", False),
    ],
)
def test_an_expression_is_allowed_if_all_its_licences_are(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) == allowed
    assert {"GPL-3.0-only", "AGPL-3.0-only", "SSPL-1.0"}.isdisjoint(ALLOWED)


def test_an_sbom_is_held_against_the_lock() -> None:
    lock = "one==1.0 \\\n    --hash=sha256:0\ntwo==2.0 ; sys_platform == 'win32' \\\n    --hash=sha256:1\n"
    right = [{"name": "One", "version": "1.0"}]

    assert everywhere(lock) == {"one"}
    assert differences({"components": right}, lock) == []
    assert differences({"components": [{"name": "one", "version": "1.1"}]}, lock) == ["one 1.1 is not in the lock"]
    assert differences({"components": [*right, {"name": "three", "version": "3"}]}, lock) == [
        "three 3 is not in the lock"
    ]
    assert differences({}, lock) == ["one is locked and not in the SBOM"]


# --- workflows


def test_every_action_is_pinned_by_commit_with_its_version_the_same_everywhere() -> None:
    texts = [path.read_text("utf-8") for path in ROOT.glob(".github/workflows/*.yml")]
    used = re.findall(r"uses: (\S+?)@(.*)$", "\n".join(texts), re.MULTILINE)
    pins = {pin for _, pin in used}

    assert [pin for pin in pins if not re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin)] == []
    assert len({name for name, _ in used}) == len(set(used))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_read_and_no_more_and_keeps_no_secret(name: str) -> None:
    text = (ROOT / f".github/workflows/{name}.yml").read_text("utf-8")
    triggers = WORKFLOWS[name][True]  # YAML reads `on` as a truth value

    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    assert {"pull_request_target", "workflow_run", "issue_comment"}.isdisjoint(triggers)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_an_end_and_leaves_no_credentials_behind(name: str) -> None:
    checkouts = [step for step in JOBS[name]["steps"] if "actions/checkout@" in step.get("uses", "")]

    assert JOBS[name]["timeout-minutes"] <= 100
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


def test_packages_are_published_without_a_token_by_a_job_that_runs_nothing_of_its_own() -> None:
    """Trusted publishing: PyPI believes the workflow. What is uploaded was built before, and is signed."""
    job = WORKFLOWS["release"]["jobs"]["pypi"]
    publish = job["steps"][-1]

    assert job["permissions"] == {"id-token": "write"}
    assert job["environment"] == "pypi"
    assert [step for step in job["steps"] if "run" in step] == []
    assert publish["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert publish["with"] == {"packages-dir": "dist", "attestations": True}
    assert "id-token" not in WORKFLOWS["release"]["jobs"]["build"].get("permissions", {})


def test_a_release_is_checked_before_it_is_built_and_proven_where_it_was() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    steps = [step.get("run", step.get("uses", "")).partition("@")[0] for step in jobs["build"]["steps"]]
    checks = [".ci/run", "make audit", "make static", "make sbom", "make dist"]
    proven = [name for name, job in jobs.items() if "attest-build-provenance" in str(job["steps"])]

    assert [step for step in steps if step in checks] == checks
    assert steps.index("make dist") < steps.index("actions/upload-artifact")
    assert proven == ["provenance", "image"]
    assert jobs["pypi"]["needs"] == "provenance"
    assert "--sbom=true --provenance=mode=max" in str(jobs["image"]["steps"])


def test_holes_are_looked_for_every_week() -> None:
    audit = WORKFLOWS["audit"]
    runs = [step["run"] for step in audit["jobs"]["audit"]["steps"] if "run" in step]

    assert re.fullmatch(r"\d+ \d+ \* \* \d", audit[True]["schedule"][0]["cron"])
    assert runs == ["make audit", "make static", "make sbom"]


def test_no_update_is_proposed_before_it_is_a_week_old() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]

    assert {each["package-ecosystem"] for each in updates} == {"github-actions", "pip", "docker"}
    assert [each for each in updates if each["cooldown"]["default-days"] < WEEK_DAYS] == []


# --- containers


def test_the_image_checks_its_health_by_its_own_command_and_has_no_shell() -> None:
    text = (ROOT / "docker/Dockerfile").read_text("utf-8")

    assert re.search(r'^HEALTHCHECK .*\\\n    CMD \["modelport", "live"\]$', text, re.MULTILINE)
    assert re.search(r"^FROM scratch$", text, re.MULTILINE)
    assert text.index("FROM scratch") < text.index("USER 10001:10001")
    assert "/bin/sh" not in text


def test_the_pod_of_the_example_is_locked_down() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/sidecar.yaml").read_text("utf-8")))
    pod = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    ours = next(each for each in pod["containers"] if each["name"] == "modelport")

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        limits = container["securityContext"]
        assert limits["runAsNonRoot"] is True
        assert limits["runAsUser"] >= 10_000
        assert limits["readOnlyRootFilesystem"] is True
        assert limits["allowPrivilegeEscalation"] is False
        assert limits["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in ours["volumeMounts"]} == {"/data", "/tmp"}
    assert ours["livenessProbe"]["exec"]["command"] == ["modelport", "live"]


# --- what judges the tests


def test_the_subjects_of_mutation_testing_exist() -> None:
    named = [name for subject in SUBJECTS.values() for name in (subject.file, *subject.tests)]

    assert {"breaker", "budgets", "ledger", "auth", "cache-key"} <= SUBJECTS.keys()
    files = [(name, ROOT / name.partition("::")[0], name.partition("::")[2]) for name in named]
    assert [
        name for name, path, test in files if not path.is_file() or f"def {test}" not in path.read_text("utf-8")
    ] == []


def test_a_survivor_is_explained_by_its_line_and_sql_in_another_case_is_none() -> None:
    changed = ["-    limit: int = 4096,", "+    limit: int = 4097,"]

    assert is_explained(changed, "Nobody counts them: `limit: int = 4097,`")
    assert not is_explained(changed, "limit: int = 4097,")
    assert not is_explained([], "anything")
    assert is_sql_in_another_case(['-"SELECT a FROM b"', '+"select a from b"'])
    assert not is_sql_in_another_case(['-"SELECT a FROM b"', '+"XXSELECT a FROM bXX"'])
    assert not is_sql_in_another_case(['-"closed"', '+"CLOSED"'])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a.py": (92, 100)}, []),
        ({"a.py": (100, 100), "b.py": (0, 0)}, []),
        ({"a.py": (1000, 1000), "b.py": (79, 100)}, ["coverage: b.py is at 79.0 %, below 80 %"]),
        ({"a.py": (91, 100)}, ["coverage: all together are at 91.00 %, below 92 %"]),
    ],
    ids=["at the bound", "an empty file", "one file", "all together"],
)
def test_coverage_has_two_bounds(files: dict[str, tuple[int, int]], told: list[str]) -> None:
    assert (LEAST_TOTAL, LEAST_FILE) == (92.0, 80.0)
    assert shortfalls(files) == told
