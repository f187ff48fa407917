"""Asks PAM one question for the hub: is that the password of that account, and may it log in?

Started by tljh-pam.socket for each connection, as root, with the connection as standard input; run by the class environment's Python with
-I -S, so with the standard library alone. It reads a name and a password, each with a zero byte at its end, answers `yes` or `no`, and
ends.

Whoever asks may be a hub that was taken over. So nothing is taken for granted: the question has a bound and a time limit, accounts of
the system are never asked about (which also keeps others from locking them by wrong passwords), and every `no` takes the same time,
whatever the reason. The reason goes to the journal, the password nowhere.
"""

import ctypes
import os
import re
import socket
import sys
import time

SERVICE = b"tljh-ts"
# Seconds. A hash takes a tenth of one, on a slow machine; PAM itself would wait two after a wrong password.
LEAST_REFUSAL = 1.0
READ_LIMIT = 3.0
# 64 of a name, PAM_MAX_RESP_SIZE of a password.
MOST_BYTES = 64 + 512 + 2
FIRST_UID = 1000
LAST_UID = 2**32 - 3
CLOSED_SHELLS = {"nologin", "false", "true", "sync", "shutdown", "halt", "git-shell"}
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}[a-z0-9]|[a-z0-9]")

PAM_SUCCESS = 0
PAM_BUF_ERR = 5
PAM_CONV_ERR = 19
PAM_TTY = 3
PAM_FAIL_DELAY = 10
PAM_DISALLOW_NULL_AUTHTOK = 1
PAM_SILENT = 0x8000
PAM_PROMPT_ECHO_OFF = 1
PAM_ERROR_MSG = 3
PAM_TEXT_INFO = 4
MOST_MESSAGES = 32


class Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class Response(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(Message)),
    ctypes.POINTER(ctypes.POINTER(Response)),
    ctypes.c_void_p,
)
Delay = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class Conversation(ctypes.Structure):
    _fields_ = [("converse", Converse), ("data", ctypes.c_void_p)]


def main():
    start = time.monotonic()
    connection = socket.socket(fileno=0)
    why = "the question was not understood"
    question = read_question(connection)
    if question:
        name, password = question
        why = why_not(name, password)
        print(f"{name}: {'yes' if why is None else 'no, ' + why}", file=sys.stderr)
    if why is None:
        connection.sendall(b"yes\n")
        return
    time.sleep(max(0, start + LEAST_REFUSAL - time.monotonic()))
    connection.sendall(b"no\n")


def read_question(connection):
    """The name and the password; nothing where it is not one question, whole and in time."""
    connection.settimeout(READ_LIMIT)
    received = b""
    try:
        while len(received) <= MOST_BYTES and (part := connection.recv(MOST_BYTES)):
            received += part
    except OSError:
        return None
    parts = received.split(b"\0")
    if len(received) > MOST_BYTES or len(parts) != 3 or parts[2]:
        return None
    name = parts[0].decode("ascii", "replace")
    return (name, parts[1]) if NAME.fullmatch(name) and ".." not in name else None


def why_not(name, password):
    """Why that does not let its owner in; None where it does."""
    if not is_ordinary(name):
        return "there is no account of a person by that name"
    if not password:
        return "the password is empty"
    try:
        return ask_pam(name.encode(), password)
    except Exception as error:  # Whatever happens, it is no.
        return f"PAM could not be asked: {error}"


def is_ordinary(name):
    """Whether it is a person's account of the machine: the rule of config/users/machine-accounts.ts, which is about the same file."""
    with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
        entry = next((line.rstrip("\n").split(":") for line in file if line.startswith(f"{name}:")), [])
    if len(entry) != 7 or not re.fullmatch(r"[0-9]+", entry[2]):
        return False
    uid, comment, home, shell = int(entry[2]), entry[4], entry[5], entry[6]
    is_persons = FIRST_UID <= uid <= LAST_UID and not 61184 <= uid <= 65535
    is_ours = name.startswith(("jupyter-", "tljh-")) or comment.startswith("JupyterHub user ")
    return is_persons and not is_ours and home.startswith("/") and os.path.basename(shell) not in CLOSED_SHELLS


def ask_pam(name, password):
    pam = ctypes.CDLL("libpam.so.0")
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    libc.strdup.restype = ctypes.c_void_p
    libc.strdup.argtypes = [ctypes.c_char_p]
    pam.pam_start.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.POINTER(Conversation),
        ctypes.POINTER(ctypes.c_void_p),
    ]
    pam.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    pam.pam_authenticate.argtypes = pam.pam_acct_mgmt.argtypes = pam.pam_end.argtypes = [ctypes.c_void_p, ctypes.c_int]
    pam.pam_strerror.argtypes = [ctypes.c_void_p, ctypes.c_int]
    pam.pam_strerror.restype = ctypes.c_char_p
    answered = []

    def converse(count, messages, responses, _data):
        # PAM frees what it gets, so it comes from its allocator.
        if not 0 < count <= MOST_MESSAGES:
            return PAM_CONV_ERR
        memory = libc.calloc(count, ctypes.sizeof(Response))
        if not memory:
            return PAM_BUF_ERR
        answers = ctypes.cast(memory, ctypes.POINTER(Response))
        responses[0] = answers
        for index in range(count):
            style = messages[index].contents.style
            if style in (PAM_ERROR_MSG, PAM_TEXT_INFO):
                continue
            # The password is given once: a second question is about something else, which nobody here can answer.
            if style != PAM_PROMPT_ECHO_OFF or answered:
                return PAM_CONV_ERR
            answered.append(True)
            answers[index].text = libc.strdup(password)
        return PAM_SUCCESS

    conversation = Conversation(Converse(converse), None)
    handle = ctypes.c_void_p()
    code = pam.pam_start(SERVICE, name, ctypes.byref(conversation), ctypes.byref(handle))
    if code != PAM_SUCCESS:
        return f"pam_start ended with {code}"
    # Every refusal takes the same time already.
    no_delay = Delay(lambda _code, _microseconds, _data: None)
    pam.pam_set_item(handle, PAM_FAIL_DELAY, ctypes.cast(no_delay, ctypes.c_void_p))
    pam.pam_set_item(handle, PAM_TTY, ctypes.cast(ctypes.c_char_p(SERVICE), ctypes.c_void_p))
    flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK
    try:
        # The second one says whether the account is locked, has run out, or must change its password first.
        for step in (pam.pam_authenticate, pam.pam_acct_mgmt):
            code = step(handle, flags)
            if code != PAM_SUCCESS:
                return (pam.pam_strerror(handle, code) or b"").decode("utf-8", "replace")
        return None
    finally:
        pam.pam_end(handle, code)


main()
