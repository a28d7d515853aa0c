"""Reads what heisenbed recorded: an iterator of dicts, one for each event.

The events are those of ``heisenbed export jsonl``, which does the reading; nothing is parsed twice.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings

__all__ = ["Damaged", "Error", "program", "read"]


class Error(Exception):
    """What heisenbed says of a file that it cannot read."""


class Damaged(UserWarning):
    """A file is read as far as it is whole."""


def program():
    """The path of the program: that of this package, or the first on PATH; or HEISENBED's."""
    named = os.environ.get("HEISENBED")
    if named:
        return named
    beside = os.path.join(sysconfig.get_path("scripts"), "heisenbed")
    if os.path.exists(beside):
        return beside
    folders = [os.path.dirname(sys.executable), os.environ.get("PATH", "")]
    found = shutil.which("heisenbed", path=os.pathsep.join(folders))
    if found is None:
        raise Error("the program heisenbed was not found: put it on PATH, or name it in HEISENBED")
    return found


def read(path):
    """Yields the events of the file at ``path`` as dicts, in order.

    It may be a trace, a reproducer, a capture, a journal, or what ``heisenbed import`` made.
    """
    path = os.fspath(path)
    # Where it would be taken for an option.
    if path.startswith("-"):
        path = os.path.join(os.curdir, path)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [program(), "export", "jsonl", path, "-o", "-", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        ended = False
        try:
            for line in process.stdout:
                yield json.loads(line)
            ended = True
        finally:
            process.stdout.close()
            if not ended:
                process.terminate()
            status = process.wait()
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip()
        if status == 3:
            warnings.warn(words, Damaged, stacklevel=2)
        elif status != 0:
            raise Error(words or f"heisenbed ended with {status}")
