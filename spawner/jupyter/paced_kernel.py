"""Runs a Python kernel as `python -m ipykernel_launcher …` does, and holds up a cell that prints faster than anybody can use.

ipykernel collects what a cell prints and sends it five times a second, in one message. A loop without end makes messages
of 20 MB, of which kernel and server hold several copies each: with a limit of 300 MB, one of the two was killed within
two seconds. Here a cell waits a moment after each megabyte. So a message has a bound, and so has the rate: the server,
which checks each message, keeps up.

Called as `paced_kernel.py -m ipykernel_launcher ARGUMENTS…`.
"""

import runpy
import sys
# The functions, not the module: a cell may put others into that (freezegun, unittest.mock), and wait for years by their clock.
from time import monotonic, sleep

# In characters, and the least time from one to the next, in seconds. What a page is shown is far less (output.py).
MEGABYTE = 1024**2
TIME_FOR_IT = 0.1


def pace(stream):
    """Changes the class of sys.stdout and sys.stderr in a kernel."""
    write_at_once = stream.write

    def write(self, text):
        if not isinstance(text, str):
            return write_at_once(self, text)
        for start in range(0, len(text), MEGABYTE):
            part = text[start : start + MEGABYTE]
            write_at_once(self, part)
            self.since_pause = getattr(self, "since_pause", 0) + len(part)
            if self.since_pause >= MEGABYTE:
                pause(self)
        return len(text)

    def pause(self):
        """Does not flush: each `flush` of ipykernel's brings a timer more, which makes messages smaller for ever."""
        self.since_pause = 0
        sleep(min(TIME_FOR_IT, max(0, getattr(self, "next_pause", 0) - monotonic())))
        self.next_pause = monotonic() + TIME_FOR_IT

    stream.write = write


if __name__ == "__main__":
    _, _, module, *arguments = sys.argv
    # This script's folder, where Python looks first: a notebook's `import home` means another file. With `-m` it is the
    # working directory, which the launcher takes out by itself. With `-P` (Python 3.11) it is neither.
    has_folder = not getattr(sys.flags, "safe_path", False)
    if has_folder:
        del sys.path[0]
    from ipykernel.iostream import OutStream

    pace(OutStream)
    if has_folder:
        sys.path.insert(0, "")
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
