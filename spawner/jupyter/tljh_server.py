"""Where a Jupyter server must know that it belongs to a hub: who asks, when it is ready, what its terminals run, whose ports are shown."""

import os
import socket
from urllib.parse import unquote

from jupyter_server.auth import IdentityProvider, User

import own_ports

# The kernel's OOM killer takes the biggest process, not the one that grew. What runs the user's code volunteers to go
# before the server, so that the page which says why stays up. With less than 1000, which is the whole limit, a server that
# has much of a kernel's output in hand can be bigger still. Anybody may raise their own score; choom(1) is in util-linux.
EXPENDABLE = ["/usr/bin/choom", "-n", "1000", "--"]


READY_PIPE = os.environ.pop("TLJH_READY", None)
if READY_PIPE:
    os.set_inheritable(int(READY_PIPE), False)

_own_search_path = os.environ.get("JUPYTER_CONFIG_PATH")


def use_settings_in(folder):
    """Makes Jupyter read its settings from `folder` first."""
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, [folder, _own_search_path]))


def shell_command():
    """Of terminals. bash reads a file of ours, which says why; other shells keep the PATH that they are given."""
    shell = os.environ.get("SHELL", "/bin/bash")
    if os.path.basename(shell) == "bash":
        return [*EXPENDABLE, shell, "--rcfile", os.path.join(os.path.dirname(__file__), "bashrc")]
    return [*EXPENDABLE, shell, "-l"]


def became_ready():
    """Says so, and forgets what is no business of the kernels, which inherit the environment. All extensions are loaded."""
    if _own_search_path is None:
        os.environ.pop("JUPYTER_CONFIG_PATH", None)
    else:
        os.environ["JUPYTER_CONFIG_PATH"] = _own_search_path
    own_ports.guard_ports()
    tell_waiting()
    notify("READY=1\nSTATUS=ready")


def tell_waiting():
    """Ends readiness.sh, which waits at the other end of the pipe: with it the start is over, at once and without asking."""
    if READY_PIPE:
        # It stays open: what is in a pipe that nobody has open is gone.
        os.write(int(READY_PIPE), b"ready\n")


def notify(state):
    """sd_notify(3), for units that were planned by an older version, in the moment of an upgrade."""
    address = os.environ.pop("NOTIFY_SOCKET", None)
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())


class HubIdentityProvider(IdentityProvider):
    """Takes the user's name from the hub. A request that did not come through the hub is nobody's."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # The identity provider is made while the server sets itself up. Binding the socket is a callback that is queued
        # after this one: going round once more, it has been done.
        loop = self.parent.io_loop
        loop.add_callback(loop.add_callback, became_ready)

    async def get_user(self, handler):
        name = unquote(handler.request.headers.get("X-Tljh-User", ""))
        return User(username=name, name=name, display_name=name) if name else None
