"""The kernels of a user's server: how they are started and spoken to, who dies first, and what is kept for a closed tab."""

import os
import sys

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager
from traitlets import default

import tljh_server
from output import NewestMessages

PACED_KERNEL = os.path.join(os.path.dirname(__file__), "paced_kernel.py")

# These programs listen on unix sockets where they are asked to. Many in other languages cannot (IJulia, deno, Java).
SPEAK_IPC = ("ipykernel", "IRkernel")


def transport_of(spec):
    """`ipc` where the kernel is known to speak it: over TCP, every user of the machine could hear what it prints.

    A kernel.json can say it itself: `"metadata": {"tljh": {"transport": "ipc"}}`.
    """
    said = spec.metadata.get("tljh", {}).get("transport")
    if said in ("ipc", "tcp"):
        return said
    return "ipc" if any(name in word for word in spec.argv for name in SPEAK_IPC) else "tcp"


class KernelManager(ServerKernelManager):
    """Starts kernels as everybody does, but expendable, and by the transport that they speak."""

    @default("transport")
    def _default_transport(self):
        try:
            return transport_of(self.kernel_spec)
        except NoSuchKernel:
            return "tcp"

    def format_kernel_cmd(self, extra_arguments=None):
        return [*tljh_server.EXPENDABLE, *paced(super().format_kernel_cmd(extra_arguments))]


def paced(command):
    """By way of paced_kernel.py, for the Python of the class. Of another one nobody knows what it has; it starts as it says."""
    is_ours = os.path.dirname(command[0]) == os.path.dirname(sys.executable)
    place = command.index("-m") if "-m" in command else len(command)
    # The file is missing when the hub went back to a version that has none, while the server ran.
    if not is_ours or command[place + 1 : place + 2] != ["ipykernel_launcher"] or not os.path.exists(PACED_KERNEL):
        return command
    return [*command[:place], PACED_KERNEL, *command[place:]]


class Kernels(AsyncMappingKernelManager):
    def start_buffering(self, kernel_id, session_key, channels):
        """For a tab that was closed. Jupyter keeps all that comes; here the newest is kept."""
        super().start_buffering(kernel_id, session_key, channels)
        kept = self._kernel_buffers.get(kernel_id)
        if kept and "buffer" in kept:
            kept["buffer"] = NewestMessages(self.get_kernel(kernel_id).session)
