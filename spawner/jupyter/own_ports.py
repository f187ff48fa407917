"""Keeps `proxy/PORT/` to programs that its user runs, where jupyter-server-proxy is in the class environment.

Ports of localhost are everybody's: whoever listens on 8501 first could show a page of theirs to all who open
`/user/NAME/proxy/8501/`, and there it could do what NAME can. So before a connection is made, the kernel is asked whose
the port is (proc(5), /proc/net/tcp): the user's own, or root's, which is the teacher's to offer to the class.
"""

import os
import sys

from tornado.web import HTTPError

LISTENING = "0A"
# Where `localhost` may lead, in the order in which it is tried, and how such an address is written in a URL.
REACHED = {"localhost": ("127.0.0.1", "[::1]"), "127.0.0.1": ("127.0.0.1",)}
# As /proc/net/tcp and tcp6 write them: the address itself, then those that stand for all. The kernel looks in this order.
SPELLED = {
    "127.0.0.1": (
        {"0100007F", "0000000000000000FFFF00000100007F"},
        {"00000000", "00000000000000000000000000000000", "0000000000000000FFFF000000000000"},
    ),
    "[::1]": ({"00000000000000000000000001000000"}, {"00000000000000000000000000000000"}),
}


def guard_ports():
    """To be called when the extensions of the server have been loaded. Nothing happens where that one is not among them."""
    handlers = sys.modules.get("jupyter_server_proxy.handlers")
    if handlers is None:
        return
    proxied = handlers.ProxyHandler.proxy
    opened = handlers.ProxyHandler.proxy_open
    address_of = handlers.ProxyHandler.get_client_uri

    async def proxy(self, host, port, proxied_path):
        choose_own(self, host, port)
        return await proxied(self, host, port, proxied_path)

    async def proxy_open(self, host, port, proxied_path=""):
        try:
            choose_own(self, host, port)
        except HTTPError as error:
            self.log.warning(error.log_message)
            return self.close(1008, "the port is somebody else's")
        return await opened(self, host, port, proxied_path)

    def get_client_uri(self, protocol, host, port, proxied_path):
        uri = address_of(self, protocol, host, port, proxied_path)
        return uri.replace(f"{protocol}://{host}:", f"{protocol}://{self.own_address or host}:", 1)

    handlers.ProxyHandler.own_address = None
    handlers.ProxyHandler.proxy = proxy
    handlers.ProxyHandler.proxy_open = proxy_open
    handlers.ProxyHandler.get_client_uri = get_client_uri


def choose_own(handler, host, port):
    """Chooses the address where the user's own program listens. Throws 403 where only others do.

    A port on which nobody listens is left to say so itself. Whoever listens on [::1] must not keep a program of the
    user's on 127.0.0.1 from being shown, nor be shown in its place.
    """
    if getattr(handler, "unix_socket", None) is not None or host not in REACHED:
        return
    owners = {address: owners_of(address, int(port)) for address in REACHED[host]}
    own = [address for address in owners if owners[address] and owners[address] <= {0, os.getuid()}]
    if any(owners.values()) and not own:
        raise HTTPError(
            403,
            f"On port {port} of this machine, a program of another user listens. What it shows could act in your name, "
            "so it is not shown here. Start your program on another port",
        )
    handler.own_address = own[0] if own else None


def owners_of(address, port):
    """The users whose programs a connection to that address can reach."""
    listeners = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}") as table:
                rows = [line.split() for line in table][1:]
        except FileNotFoundError:
            continue
        listeners += [(*row[1].split(":"), int(row[7])) for row in rows if row[3] == LISTENING]
    for spelled in SPELLED[address]:
        owners = {uid for where, number, uid in listeners if where in spelled and int(number, 16) == port}
        if owners:
            return owners
    return set()
