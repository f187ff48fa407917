"""Keeps `proxy/PORT/` to programs that its user runs, where jupyter-server-proxy is in the class environment.

Ports of localhost are everybody's: whoever listens on 8501 first could show a page of theirs to all who open
`/user/NAME/proxy/8501/`, and there it could do what NAME can. So before a connection is made, the kernel is asked whose
the port is (proc(5), /proc/net/tcp): the user's own, or root's, which is the teacher's to offer to the class.
"""

import os
import sys

from tornado.web import HTTPError

LISTENING = "0A"
LOCAL_NAMES = ("localhost", "127.0.0.1")


def guard_ports():
    """To be called when the extensions of the server have been loaded. Nothing happens where that one is not among them."""
    handlers = sys.modules.get("jupyter_server_proxy.handlers")
    if handlers is None:
        return
    proxied = handlers.ProxyHandler.proxy
    opened = handlers.ProxyHandler.proxy_open

    async def proxy(self, host, port, proxied_path):
        refuse_others(self, host, port)
        return await proxied(self, host, port, proxied_path)

    async def proxy_open(self, host, port, proxied_path=""):
        try:
            refuse_others(self, host, port)
        except HTTPError as error:
            self.log.warning(error.log_message)
            return self.close(1008, "the port is somebody else's")
        return await opened(self, host, port, proxied_path)

    handlers.ProxyHandler.proxy = proxy
    handlers.ProxyHandler.proxy_open = proxy_open


def refuse_others(handler, host, port):
    """Throws 403 for a port of another user's. One on which nobody listens is left to say so itself."""
    is_port = getattr(handler, "unix_socket", None) is None and host in LOCAL_NAMES
    if is_port and not owners_of(int(port)) <= {0, os.getuid()}:
        raise HTTPError(
            403,
            f"On port {port} of this machine, a program of another user listens. What it shows could act in your name, "
            "so it is not shown here. Start your program on another port",
        )


def owners_of(port):
    """The users who listen there, at whatever address."""
    owners = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}") as table:
                rows = [line.split() for line in table][1:]
        except FileNotFoundError:
            continue
        owners.update(int(row[7]) for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port)
    return owners
