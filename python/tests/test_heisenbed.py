"""The reader and the plugin, as installed: HEISENBED or the wheel's own program."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import heisenbed

HERE = pathlib.Path(__file__).parent


def run(*words):
    return subprocess.run([heisenbed.program(), *map(str, words)], capture_output=True, check=False)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "run.hb"
    run("stress", "--ops", "200", "--quiet", "--record", path)
    return path


def test_the_events_are_those_that_a_check_counts(trace):
    checked = json.loads(run("check", trace, "--format", "json", "--quiet").stdout)
    events = list(heisenbed.read(trace))
    assert len(events) == checked["events_found"] == checked["events"]
    sent = [event for event in events if event["event"] == "send" and event["outcome"] == "sent"]
    assert len(sent) == checked["messages"]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))


def test_who_has_seen_enough_may_stop(trace):
    events = heisenbed.read(trace)
    assert next(events)["n"] == 1
    events.close()


def test_a_cut_trace_warns_and_no_trace_raises(trace, tmp_path):
    cut = tmp_path / "cut.hb"
    cut.write_bytes(trace.read_bytes()[:-40])
    with pytest.warns(heisenbed.Damaged):
        assert list(heisenbed.read(cut))
    with pytest.raises(heisenbed.Error, match="nowhere"):
        list(heisenbed.read(tmp_path / "nowhere.hb"))


def pytest_on(*words):
    racy = str(HERE / "racy.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", racy, *words]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_a_planted_lost_update_is_found_and_its_twin_is_not_accused():
    code, said = pytest_on("--heisenbed-perturb", "--heisenbed-schedules", "60")
    assert code == 1, said
    assert "1 failed, 2 passed" in said, said
    assert "test_planted_lost_update" in said and "it failed in run" in said, said


def test_without_the_option_nothing_is_run_by_heisenbed():
    code, said = pytest_on("-k", "parametrised")
    assert code == 0, said
