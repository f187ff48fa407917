"""Prints the packages that are not as JupyterLab needs them in this environment, one a line: missing, of a wrong version, or with files missing.

Read on standard input are our requirements, one a line; all that they depend on is looked at, and nothing else. It is the
environment's own Python that runs this, isolated. For the comparison of versions each has `packaging`, pip a copy of it.
"""

import csv
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

try:
    from packaging.requirements import Requirement
except ImportError:
    from pip._vendor.packaging.requirements import Requirement


def faults(lines):
    texts = [line.strip() for line in lines]
    waiting = [Requirement(line) for line in texts if line and not line.startswith("#")]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        try:
            package = distribution(name)
        except PackageNotFoundError:
            yield name
            continue
        if not wanted.specifier.contains(package.version, prereleases=True):
            yield name
        key = (name, tuple(sorted(wanted.extras)))
        if key in seen:
            continue
        seen.add(key)
        if not is_whole(package):
            yield name
        for text in package.requires or []:
            needed = Requirement(text)
            extras = ["", *wanted.extras]
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)


def is_whole(package):
    """A package without a list of files (conda's) is believed. Compiled code is made anew where it is missing."""
    # Read by hand: since Python 3.12, importlib.metadata leaves files that are missing out of its own list.
    record = package.read_text("RECORD") or ""
    for path, checksum, size in csv.reader(record.splitlines()):
        if path.endswith(".pyc"):
            continue
        try:
            found = package.locate_file(path).stat().st_size
        except OSError:
            return False
        # What has no hash is written by whoever installs, as `RECORD` and `INSTALLER` are. Outside of site-packages are settings
        # that a teacher may change (`../../../etc/jupyter`), and programs with a first line of their own.
        if not path.startswith("..") and checksum and size and int(size) != found:
            return False
    return True


for found in sorted(set(faults(sys.stdin))):
    print(found)
