"""What a start may ask of a home that is full, or in which folders are somebody else's: nothing.

Jupyter and IPython keep signatures, secrets and histories in the home, and end where they cannot. A home that takes
no file is mended in the very server that would not start, so meanwhile they write to the server's own /run/jupyter.
"""

import errno
import os
import tempfile

from jupyter_core import paths

# A file of this size fits, so there is room for a database of signatures and for a profile. In bytes.
ROOM = 64 * 1024


def find_places_to_write():
    """Sets the variables, which kernels and terminals inherit, of those places that take no files now."""
    instead = os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], "instead")
    data = paths.jupyter_data_dir()
    if not takes_files(data):
        os.environ["JUPYTER_DATA_DIR"] = make(instead, "data")
        # Kernels that the user has installed are still found.
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [os.environ.get("JUPYTER_PATH"), data]))
    ipython = os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython")
    if not (takes_files(ipython) and takes_files(os.path.join(ipython, "profile_default"))):
        os.environ["IPYTHONDIR"] = make(instead, "ipython")
    if not may_read(paths.jupyter_config_dir()):
        os.environ["JUPYTER_CONFIG_DIR"] = make(instead, "config")


def takes_files(folder):
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
        return True
    except OSError:
        return False


def is_full():
    try:
        with tempfile.TemporaryFile(dir=os.path.expanduser("~")) as file:
            file.write(bytes(ROOM))
        return False
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)


def may_read(folder):
    """A folder that is not there is no obstacle."""
    return not os.path.lexists(folder) or os.access(folder, os.R_OK | os.X_OK)


def make(*parts):
    folder = os.path.join(*parts)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def own_settings():
    """Files of the user's own from which the server takes settings, as a person would write them."""
    home = os.path.expanduser("~")
    folders = [folder for folder in paths.jupyter_config_path() if folder.startswith(home + os.sep)]
    found = []
    for folder in folders:
        for kind in (folder, os.path.join(folder, "jupyter_server_config.d")):
            try:
                names = sorted(os.listdir(kind))
            except OSError:
                continue
            is_drop_in = kind != folder
            found += [
                "~" + os.path.join(kind, name)[len(home) :]
                for name in names
                if name.endswith((".json", ".py")) and (is_drop_in or name.startswith("jupyter_"))
            ]
    return found
