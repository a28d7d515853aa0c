"""``pytest --heisenbed-perturb``: each test in a process of its own under ``heisenbed run``.

The process runs this very test by pytest again and again, its fixtures anew each time, with other
delays before what its threads do, until it fails or was run often enough. heisenbed decides nothing
by itself: the test has failed if pytest says so in there.
"""

import json
import os
import subprocess
import sys
import tempfile

import pytest
from _pytest.runner import runtestprotocol

from . import Error, program

# How often a test is to be run; set in the processes that run one.
INSIDE = "HEISENBED_PYTEST_INSIDE"


def pytest_addoption(parser):
    group = parser.getgroup("heisenbed")
    group.addoption(
        "--heisenbed-perturb",
        action="store_true",
        help="run each test again and again under `heisenbed run`, with its threads perturbed",
    )
    group.addoption(
        "--heisenbed-schedules",
        type=int,
        default=100,
        metavar="N",
        help="how often each test is run (100)",
    )
    group.addoption(
        "--heisenbed-seed",
        type=int,
        default=1,
        metavar="N",
        help="where the delays come from (1)",
    )


def pytest_configure(config):
    about = "no_heisenbed: leave this test alone with --heisenbed-perturb"
    config.addinivalue_line("markers", about)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    config = pyfuncitem.config
    if INSIDE in os.environ or not config.getoption("--heisenbed-perturb"):
        return None
    if pyfuncitem.get_closest_marker("no_heisenbed"):
        return None
    under_heisenbed(pyfuncitem)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if INSIDE not in os.environ:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    times = max(1, int(os.environ[INSIDE]))
    for time in range(1, times + 1):
        if time > 1:
            item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = any(report.failed for report in reports)
        skipped = any(report.skipped for report in reports)
        if failed or skipped or time == times:
            for report in reports:
                if report.failed:
                    report.sections.append(("heisenbed", f"it failed in run {time} of {times}"))
                item.ihook.pytest_runtest_logreport(report=report)
            break
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def under_heisenbed(item):
    config = item.config
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        # A virtual environment is known by its paths: the program is started by its real name.
        paths = os.pathsep.join([path or os.curdir for path in sys.path])
        environment = {
            **os.environ,
            INSIDE: str(config.getoption("--heisenbed-schedules")),
            "PYTHONPATH": paths,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        inner = [
            os.path.realpath(sys.executable), "-m", "pytest", "-q", "-x", "--no-header",
            "-p", "no:cacheprovider", "-p", "no:xdist", *loads(config),
            "--rootdir", str(config.rootpath),
            *(["-c", str(config.inipath)] if config.inipath else []),
            item.nodeid,
        ]
        command = [
            program(), "run", "--strategy", "perturb", "--format", "json", "--quiet",
            "--schedules", "1", "--seed", str(config.getoption("--heisenbed-seed")),
            "--timeout", "10m", "--", *inner,
        ]
        with open(report, "wb") as answer:
            ran = subprocess.run(
                command, cwd=str(config.rootpath), env=environment, stdin=subprocess.DEVNULL,
                stdout=answer, stderr=subprocess.PIPE, check=False,
            )
        said = ran.stderr.decode("utf-8", "replace")
        with open(report, encoding="utf-8") as answer:
            verdict = verdict_of(answer.read())
    if ran.returncode == 0:
        return
    if ran.returncode == 1:
        why = (verdict.get("failure") or {}).get("summary", "it failed")
        seed = config.getoption("--heisenbed-seed")
        pytest.fail(f"heisenbed: {why} (seed {seed}); in there:\n{said}", pytrace=False)
    if ran.returncode == 3:
        pytest.skip(f"heisenbed: undecided: {verdict.get('note')}")
    raise Error(said or f"heisenbed ended with {ran.returncode}")


def loads(config):
    """This plugin, where it is not installed and was named to pytest."""
    named = config.pluginmanager.has_plugin("heisenbed")
    return [] if named else ["-p", __name__]


def verdict_of(text):
    """The object that heisenbed printed; what the tests printed stands before it."""
    for line in reversed(text.splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "verdict" in value:
            return value
    return {}
