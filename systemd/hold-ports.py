"""Holds the hub's ports, so that no other program gets one while a socket of the hub is closed for a moment.

A socket that is bound and does not listen keeps the port from everybody, at each address of the machine. With SO_REUSEPORT,
sockets of the same user (root, so systemd's) can be bound beside it, and only those (socket(7)). systemd keeps the descriptors
when this program has ended (FileDescriptorStoreMax=), and hands them over when it is started anew.

Below 1024 only root can listen. Nothing is held there, so that no web server meets a port that is taken without need; it is
only looked whether the address is free.

TLJH_STREAMS has the addresses as ListenStream= has them. The status says which ports are in use, by a program or by a socket of the hub.
"""
import array
import errno
import os
import re
import socket

FIRST_UNPRIVILEGED = 1024
FIRST_DESCRIPTOR = 3
IP_FREEBIND = 15


def notify(text, *descriptors):
    address = os.environ["NOTIFY_SOCKET"]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
        to_systemd.sendmsg([text.encode()], rights, 0, "\0" + address[1:] if address[0] == "@" else address)


def bound(address, port, option):
    """A socket that is bound there, or None where somebody else's is."""
    kind = socket.AF_INET if "." in address else socket.AF_INET6
    try:
        found = socket.socket(kind)
    except OSError:
        # A machine without IPv6.
        kind = socket.AF_INET
        found = socket.socket(kind)
    if kind == socket.AF_INET6:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    found.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    found.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        found.bind((address, port))
        return found
    except OSError as problem:
        found.close()
        # Another family, or switched off (net.ipv6.conf.all.disable_ipv6): what cannot be listened at is not somebody else's.
        if problem.errno == errno.EADDRNOTAVAIL and address == "":
            return bound("0.0.0.0", port, option)
        return None


def held_already():
    names = os.environ.get("LISTEN_FDNAMES", "").split(":") if os.environ.get("LISTEN_FDS") else []
    return dict(zip(names, range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(names))))


def main():
    held = held_already()
    wanted = {}
    for stream in os.environ.get("TLJH_STREAMS", "").split():
        address, port = re.fullmatch(r"(?:\[?([^\]]*)\]?:)?(\d+)", stream).groups()
        wanted[port] = address or ""
    for port in held.keys() - wanted.keys():
        notify("FDSTOREREMOVE=1\nFDNAME=" + port)
    taken = []
    for port, address in wanted.items():
        if port in held:
            continue
        if int(port) < FIRST_UNPRIVILEGED:
            found = bound(address, int(port), socket.SO_REUSEADDR)
        else:
            found = bound("", int(port), socket.SO_REUSEPORT)
            if found:
                # It is at no end of a connection, which systemd would take for one that has broken off.
                notify("FDSTORE=1\nFDPOLL=0\nFDNAME=" + port, found.fileno())
        if found:
            found.close()
        else:
            taken.append(port)
    notify("STATUS=held: {}; in use: {}".format(" ".join(wanted.keys() - set(taken)) or "none", " ".join(taken) or "none"))
    # The descriptors are systemd's when it has read what was sent.
    end, other = os.pipe()
    notify("BARRIER=1", other)
    os.close(other)
    os.read(end, 1)


main()
