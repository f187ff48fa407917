"""The three places where a Jupyter server must know that it belongs to a hub: who asks, when it is ready, who dies first."""

import os
import socket
from urllib.parse import unquote

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

# The kernel's OOM killer takes the biggest process, not the one that grew. What runs the user's code volunteers to go
# before the server, so that the page which says why stays up. Anybody may raise their own score; choom(1) is in util-linux.
EXPENDABLE = ["/usr/bin/choom", "-n", "300", "--"]


def notify(state):
    """sd_notify(3): the spawner learns of readiness from systemd, at once and without asking."""
    address = os.environ.pop("NOTIFY_SOCKET", None)  # popped: no business of the kernels
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())


class HubIdentityProvider(IdentityProvider):
    """Takes the user's name from the hub. A request that did not come through the hub is nobody's."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # The identity provider is made while the server sets itself up; callbacks run once it listens and its loop turns.
        self.parent.io_loop.add_callback(notify, "READY=1\nSTATUS=ready")

    async def get_user(self, handler):
        name = unquote(handler.request.headers.get("X-Tljh-User", ""))
        return User(username=name, name=name, display_name=name) if name else None


class KernelManager(ServerKernelManager):
    """Starts kernels as everybody does, but expendable."""

    def format_kernel_cmd(self, extra_arguments=None):
        return [*EXPENDABLE, *super().format_kernel_cmd(extra_arguments)]
