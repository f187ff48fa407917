"""Holds the hub's ports, so that no other program gets one while a socket of the hub is closed for a moment.

A socket that is bound and does not listen keeps the port from everybody, at each address of the machine. With SO_REUSEPORT,
sockets of the same user (root, so systemd's) can be bound beside it, and only those (socket(7)). systemd keeps the descriptors
when this program has ended (FileDescriptorStoreMax=), and hands them over when it is started anew.

Below 1024 only root can listen. Nothing is held there, so that no web server meets a port that is taken without need; it is
only looked whether the address is free.

TLJH_STREAMS has the addresses as ListenStream= has them, and TLJH_OWN those at which systemd listens for the hub now. The status says
of each port whether it is held, free without being held, or in use by another program.
"""
import array
import errno
import os
import re
import socket
import struct

FIRST_UNPRIVILEGED = 1024
FIRST_DESCRIPTOR = 3
MAPPED = bytes(10) + b"\xff\xff"
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


def listeners():
    """The addresses, as bytes, and ports at which somebody listens (proc_net_tcp(5): the words of an address are in the machine's order)."""
    for table in ("tcp", "tcp6"):
        try:
            lines = open("/proc/self/net/" + table).read().splitlines()
        except FileNotFoundError:
            # A machine without IPv6.
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                yield packed(struct.pack("=%dI" % len(words), *words)), int(port, 16)


def packed(address):
    """As bytes: four for IPv4, also where it is mapped into IPv6. The kernel's table has no zones."""
    if isinstance(address, str):
        address = address.split("%")[0]
        address = socket.inet_pton(socket.AF_INET if "." in address and ":" not in address else socket.AF_INET6, address or "::")
    return address[12:] if address[:12] == MAPPED else address


def is_in_the_way(one, other):
    """Whether a socket at one address keeps others from the other one."""
    return one == other or covers(one, other) or covers(other, one)


def covers(all_of, one):
    """Whether the first is all addresses. Those of IPv6 are taken for those of IPv4, too: the table does not say."""
    return not any(all_of) and (len(all_of) == 16 or len(one) == 4)


def others_keep_from(address, port, own):
    """Whether a program is in the way that is not the hub, where the hub's own sockets are in the way of a try."""
    others = [at for at, used in listeners() if used == port and (at, used) not in own]
    return any(port >= FIRST_UNPRIVILEGED or is_in_the_way(at, packed(address)) for at in others)


def read(stream):
    address, port = re.fullmatch(r"(?:\[?([^\]]*)\]?:)?(\d+)", stream).groups()
    return address or "", int(port)


def held_already():
    names = os.environ.get("LISTEN_FDNAMES", "").split(":") if os.environ.get("LISTEN_FDS") else []
    return dict(zip(names, range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(names))))


def main():
    held = held_already()
    wanted = {}
    for stream in os.environ.get("TLJH_STREAMS", "").split():
        address, port = read(stream)
        wanted[str(port)] = address
    own = {(packed(address), port) for address, port in map(read, os.environ.get("TLJH_OWN", "").split())}
    for port in held.keys() - wanted.keys():
        notify("FDSTOREREMOVE=1\nFDNAME=" + port)
    free, taken = [], []
    for port, address in wanted.items():
        if port in held:
            continue
        if int(port) < FIRST_UNPRIVILEGED:
            found = bound(address, int(port), socket.SO_REUSEADDR)
            if found:
                free.append(port)
        else:
            found = bound("", int(port), socket.SO_REUSEPORT)
            if found:
                # It is at no end of a connection, which systemd would take for one that has broken off.
                notify("FDSTORE=1\nFDPOLL=0\nFDNAME=" + port, found.fileno())
        if found:
            found.close()
        elif any(port == str(used) for _, used in own) and not others_keep_from(address, int(port), own):
            free.append(port)
        else:
            taken.append(port)
    held_now = wanted.keys() - set(free) - set(taken)
    notify("STATUS=held: {}; free: {}; in use: {}".format(*(" ".join(ports) or "none" for ports in (held_now, free, taken))))
    # The descriptors are systemd's when it has read what was sent.
    end, other = os.pipe()
    notify("BARRIER=1", other)
    os.close(other)
    os.read(end, 1)


main()
