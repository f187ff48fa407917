"""How much of a kernel's output waits for a browser, and how much a page is shown.

A cell can print faster than a page can draw, and a tab can be closed while it prints. What waits for a browser, slow
or absent, has a bound for each connection and each kernel: the server must not be the one that needs too much memory.
How fast a cell may print at all is in paced_kernel.py.
"""

import json
import time
from collections import OrderedDict, deque

from jupyter_client.jsonutil import json_default
from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

# Of output that a browser has not taken yet, in bytes.
MOST_WAITING = 4 * 1024**2
# What one cell may print at once, and in each second after that, in bytes. A page draws all of it anew with each piece, so
# a loop without end would freeze it at any steady rate of use: Jupyter's (a megabyte a second) takes half a minute.
AT_ONCE = 500_000
EACH_SECOND = 10_000
# Of what was left out, its end is shown: before what comes later, or when the cell has ended. In characters.
MOST_OF_END = 2_000
# Threads of older cells print on. So many cells have a share of their own at a time.
MOST_CELLS = 16
# Of output that is kept for a tab that is not there, for when it comes back, in bytes. A page is shown all of it.
MOST_KEPT = 400_000

OUTPUT = {"stream", "display_data", "update_display_data", "execute_result"}
# What a page must hear of, whatever else is left out: a cell would be shown as running for ever, or as gone well.
NEWS = {"status", "execute_input", "error"}

TOO_MUCH = "This cell writes more than a page can show, so some of its output was left out. Print less, or write to a file.\n"
LEFT_OUT = "While the page was closed, this cell wrote more than is kept. Its older output was left out.\n"


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
        kind = header_of(parts).get("msg_type")
        if channel != "iopub" or kind in NEWS:
            self.news.append((self.count, message))
            return
        if kind == "stream" and size_of(parts) > MOST_KEPT:
            parts = self.end_alone(parts)
        self.rest.append((self.count, (channel, parts)))
        self.bytes += size_of(parts)
        while self.bytes > MOST_KEPT and len(self.rest) > 1:
            _, (_, oldest) = self.rest.popleft()
            self.bytes -= size_of(oldest)
            self.parent = header_of(oldest, place=3)

    def end_alone(self, parts):
        """The same message with the end of its text."""
        self.parent = header_of(parts, place=3)
        content = json.loads(bytes(parts[parts.index(b"<IDS|MSG>") + 5]))
        content["text"] = end_of(content["text"])
        return self.session.serialize(self.session.msg("stream", content, parent=self.parent))

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


def end_of(text):
    end = text[-MOST_OF_END:]
    # A line whose beginning is cut off says little, where there is another one.
    if len(end) < len(text) and "\n" in end[:-1]:
        end = end[end.find("\n") + 1 :]
    return end


class Cell:
    """What a cell may still print, and the end of what it could not: the stream's name and the text."""

    def __init__(self, parent):
        self.parent = parent
        self.room = AT_ONCE
        self.since = time.monotonic()
        self.left_out = None
        self.is_told = False

    def refill(self):
        now = time.monotonic()
        self.room = min(AT_ONCE, self.room + (now - self.since) * EACH_SECOND)
        self.since = now


class KernelConnection(ZMQChannelsWebsocketConnection):
    """The WebSocket of a page. What a cell prints beyond measure is left out, and so is what the browser is too slow for.

    What is shown is in its order: beginning, notice, and before anything that comes later the end of what was left out.
    """

    # Of output that was handed over and that the browser has not taken, in bytes.
    waiting = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # By the id of the request that ran it; who printed last is last.
        self.cells = OrderedDict()

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
        parent = self._read("parent_header", msg, msg_list)
        # Every request has a status, also those that are no cell: completions, widgets, the debugger's.
        is_cell = kind in OUTPUT or kind in ("execute_input", "error")
        cell = self._cell(parent) if is_cell else self.cells.get(parent.get("msg_id"))
        if kind == "stream":
            return not self._has_room(cell, msg, msg_list)
        if kind in OUTPUT and self.waiting > MOST_WAITING:
            self._tell(cell)
            return True
        if cell and kind == "clear_output":
            cell.left_out = None
        elif cell and self._comes_later(kind, msg, msg_list):
            self._show_end(cell)
        return super()._limit_rate(channel, msg, msg_list) and kind not in NEWS

    def _comes_later(self, kind, msg, msg_list):
        """Whether a message, which is no stream, is one before which the end is shown. News comes to slow browsers, too."""
        if kind == "status":
            return self._read("content", msg, msg_list)["execution_state"] == "idle"
        return kind in NEWS or self.waiting <= MOST_WAITING

    def _cell(self, parent):
        id = parent.get("msg_id")
        if id not in self.cells:
            self.cells[id] = Cell(parent)
        self.cells.move_to_end(id)
        if len(self.cells) > MOST_CELLS:
            _, oldest = self.cells.popitem(last=False)
            if self.waiting <= MOST_WAITING:
                self._show_end(oldest)
        return self.cells[id]

    def _has_room(self, cell, msg, msg_list):
        cell.refill()
        # Of the parts, the content is the fourth, after the header, the parent's and the metadata.
        size = len(msg_list[3])
        if size <= cell.room and self.waiting <= MOST_WAITING:
            self._show_end(cell)
            cell.room -= size
            return True
        content = self._read("content", msg, msg_list)
        if not cell.is_told and self.waiting <= MOST_WAITING:
            self._write_stream(content["name"], content["text"][: int(cell.room)] + "\n", cell.parent)
            cell.room = 0
        self._tell(cell)
        cell.left_out = content["name"], end_of(content["text"])
        return False

    def _show_end(self, cell):
        if cell.left_out:
            name, end = cell.left_out
            cell.left_out = None
            cell.room = max(0, cell.room - len(end))
            self._write_stream(name, "…\n" + end, cell.parent)

    def _read(self, field, msg, msg_list):
        msg[field] = self.get_part(field, msg[field], msg_list)
        return msg[field]

    def write_stderr(self, error_message, parent_header):
        """Of Jupyter's own bound, which counts pictures and the like, in words that are no administrator's."""
        self.log.warning(error_message)
        self._tell(self._cell(parent_header))

    def _tell(self, cell):
        if not cell.is_told:
            cell.is_told = True
            self._write_stream("stderr", TOO_MUCH, cell.parent)

    def _write_stream(self, name, text, parent):
        """As `write_stderr` of Jupyter does."""
        message = self.session.msg("stream", content={"name": name, "text": text}, parent=parent)
        if self.subprotocol == "v1.kernel.websocket.jupyter.org":
            self.write_message(serialize_msg_to_ws_v1(message, "iopub", self.session.pack), binary=True)
        else:
            message["channel"] = "iopub"
            self.write_message(json.dumps(message, default=json_default))
