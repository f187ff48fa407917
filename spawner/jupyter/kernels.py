"""The kernels of a user's server: how they are spoken to, who dies first, and how much of their output waits.

A cell can print faster than a page can draw, and a tab can be closed while it prints. What waits for a browser, slow
or absent, has a bound for each connection and each kernel: the server must not be the one that needs too much memory.
"""

import json
import time
from collections import deque

from jupyter_client.jsonutil import json_default
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager
from traitlets import default

import tljh_server

# Of output that a browser has not taken yet, in bytes.
MOST_WAITING = 4 * 1024**2
# What one cell may print at once, and in each second after that, in bytes. A page draws all of it anew with each piece, so
# a loop without end would freeze it at any steady rate of use: Jupyter's (a megabyte a second) takes half a minute.
AT_ONCE = 500_000
EACH_SECOND = 10_000
# Of what was left out, its end is shown when the cell has ended, in characters.
MOST_OF_END = 2_000
# Of output that is kept for a tab that is not there, for when it comes back, in bytes. A page is shown all of it.
MOST_KEPT = 400_000

OUTPUT = {"stream", "display_data", "update_display_data", "execute_result"}
# What a page must hear of, whatever else is left out, or it would show a cell as running for ever.
NEWS = {"status", "execute_input", "error"}

TOO_MUCH = "This cell writes more than a page can show, so some of its output was left out. Print less, or write to a file.\n"
LEFT_OUT = "While the page was closed, this cell wrote more than is kept. Its older output was left out.\n"

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
        return [*tljh_server.EXPENDABLE, *super().format_kernel_cmd(extra_arguments)]


class Kernels(AsyncMappingKernelManager):
    def start_buffering(self, kernel_id, session_key, channels):
        """For a tab that was closed. Jupyter keeps all that comes; here the newest is kept."""
        super().start_buffering(kernel_id, session_key, channels)
        kept = self._kernel_buffers.get(kernel_id)
        if kept and "buffer" in kept:
            kept["buffer"] = NewestMessages(self.get_kernel(kernel_id).session)


class NewestMessages:
    """Messages of a kernel in their order, as `(channel, parts)`: all news, and the newest of the rest."""

    def __init__(self, session):
        self.session = session
        self.news = deque()
        self.rest = deque()
        self.count = 0
        self.bytes = 0
        self.parent = None

    def __len__(self):
        return len(self.news) + len(self.rest)

    def append(self, message):
        channel, parts = message
        self.count += 1
        if channel != "iopub" or header_of(parts).get("msg_type") in NEWS:
            self.news.append((self.count, message))
            return
        self.rest.append((self.count, message))
        self.bytes += size_of(parts)
        while self.bytes > MOST_KEPT and len(self.rest) > 1:
            _, (_, oldest) = self.rest.popleft()
            self.bytes -= size_of(oldest)
            self.parent = header_of(oldest, place=3)

    def __iter__(self):
        if self.parent is not None:
            note = self.session.msg("stream", {"name": "stderr", "text": LEFT_OUT}, parent=self.parent)
            yield "iopub", self.session.serialize(note)
        for _, message in sorted([*self.news, *self.rest], key=lambda item: item[0]):
            yield message


def size_of(parts):
    return sum(len(part) for part in parts)


def header_of(parts, place=2):
    """The header of a message as it comes from a socket; at place 3, that of the message that it answers."""
    try:
        return json.loads(bytes(parts[parts.index(b"<IDS|MSG>") + place]))
    except (ValueError, IndexError):
        return {}


class KernelConnection(ZMQChannelsWebsocketConnection):
    """The WebSocket of a page. What a cell prints beyond measure is left out, and so is what the browser is too slow for."""

    # Of output that was handed over and that the browser has not taken, in bytes.
    waiting = 0
    # Of the cell that runs: its request's id, what it may still print, the time when that was so.
    cell = None
    room = 0
    since = 0
    is_told = False
    # The last message that was left out, in its parts.
    last_left_out = None

    @property
    def write_message(self):
        return self._write_and_count

    def _write_and_count(self, message, binary=False):
        size = len(message)
        written = self.websocket_handler.write_message(message, binary)
        self.waiting += size

        def has_written(future):
            self.waiting -= size
            # A socket that was closed meanwhile is no news.
            future.cancelled() or future.exception()

        written.add_done_callback(has_written)
        return written

    def _limit_rate(self, channel, msg, msg_list):
        """Answers whether a message is left out; msg and msg_list are the same one, parsed as far as it was, and in parts."""
        if channel != "iopub":
            return False
        kind = self._read("header", msg, msg_list)["msg_type"]
        if kind == "stream":
            return not self._has_room(msg, msg_list)
        if kind in OUTPUT and self.waiting > MOST_WAITING:
            self._tell(self._read("parent_header", msg, msg_list))
            return True
        if kind == "status" and self.last_left_out and self._read("content", msg, msg_list)["execution_state"] == "idle":
            self._show_end(self._read("parent_header", msg, msg_list))
        return super()._limit_rate(channel, msg, msg_list)

    def _has_room(self, msg, msg_list):
        parent = self._read("parent_header", msg, msg_list)
        now = time.monotonic()
        if parent.get("msg_id") != self.cell:
            self.cell, self.room, self.is_told, self.last_left_out = parent.get("msg_id"), AT_ONCE, False, None
        else:
            self.room = min(AT_ONCE, self.room + (now - self.since) * EACH_SECOND)
        self.since = now
        # Of the parts, the content is the fourth, after the header, the parent's and the metadata.
        size = len(msg_list[3])
        if size <= self.room and self.waiting <= MOST_WAITING:
            self.room -= size
            return True
        # Its parts belong to nobody else, so the beginning can be sent and the whole be kept.
        self.last_left_out = list(msg_list)
        shows_beginning = not self.is_told and self.waiting <= MOST_WAITING
        if shows_beginning:
            content = self._read("content", msg, msg_list)
            content["text"] = content["text"][: int(self.room)] + "\n"
            msg_list[3] = self.session.pack(content)
            self.room = 0
        self._tell(parent)
        return shows_beginning

    def _show_end(self, parent):
        content = self.session.unpack(self.last_left_out[3])
        self.last_left_out = None
        if parent.get("msg_id") == self.cell:
            end = content["text"][-MOST_OF_END:]
            # A line whose beginning is cut off says little, where there is another one.
            if len(end) < len(content["text"]) and "\n" in end[:-1]:
                end = end[end.find("\n") + 1 :]
            self._write_stream(content["name"], "…\n" + end, parent)

    def _read(self, field, msg, msg_list):
        msg[field] = self.get_part(field, msg[field], msg_list)
        return msg[field]

    def _tell(self, parent):
        if not self.is_told:
            self.is_told = True
            self._write_stream("stderr", TOO_MUCH, parent)

    def _write_stream(self, name, text, parent):
        """As `write_stderr` does."""
        message = self.session.msg("stream", content={"name": name, "text": text}, parent=parent)
        if self.subprotocol == "v1.kernel.websocket.jupyter.org":
            self.write_message(serialize_msg_to_ws_v1(message, "iopub", self.session.pack), binary=True)
        else:
            message["channel"] = "iopub"
            self.write_message(json.dumps(message, default=json_default))
