"""A program at a terminal of its own, driven step by step.

    terminal.py [--stdout FILE] STEP... -- PROGRAM ARG...

A step is "wait TEXT" (until the program has shown it since the last step), "prompt"
(until it edits a line behind "> "), "more" (the same behind ". "), "type TEXT" (and
Enter; without it: "keys TEXT", with \\x03 for Ctrl-C and so on), "signal NUMBER" (to all
that is in the foreground) or "pause SECONDS".
What was shown goes to standard output; the exit status is the program's, as a shell has
it, 99 if something did not come.  With --stdout the program's standard output is that
file."""
import os
import pty
import select
import signal
import sys
import termios
import time

args = sys.argv[1:]
out = None
if args[0] == "--stdout":
    out, args = args[1], args[2:]
split = args.index("--")
steps, command = args[:split], args[split + 1:]

pid, terminal = pty.fork()
if not pid:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what runs in the background
    if out:
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 1)
    os.execvp(command[0], command)

shown, seen = b"", 0


def read(seconds):
    """More of what is shown; False at the end, or after so many seconds."""
    global shown
    if not select.select([terminal], [], [], seconds)[0]:
        return False
    try:
        more = os.read(terminal, 65536)
    except OSError:
        return False
    shown += more
    return bool(more)


def give_up(what):
    os.write(1, shown)
    os.write(2, b"\n" + what.encode() + b"\n")
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    sys.exit(99)


def wait_for(data):
    global seen
    end = time.monotonic() + 20
    while (at := shown.find(data, seen)) < 0:
        left = end - time.monotonic()
        if left <= 0 or (not read(left) and shown.find(data, seen) < 0):
            give_up(f"did not come: {data}")
    seen = at + len(data)


def wait_for_editor(data):
    """The prompt comes before the terminal gives keys one by one."""
    wait_for(data)
    end = time.monotonic() + 20
    while termios.tcgetattr(terminal)[3] & termios.ICANON:
        if time.monotonic() > end:
            give_up("no line is edited")
        time.sleep(0.005)


for step in steps:
    verb, _, text = step.partition(" ")
    data = text.encode().decode("unicode_escape").encode("latin-1") if verb == "keys" else text.encode()
    if verb == "wait":
        wait_for(data)
    elif verb == "prompt":
        wait_for_editor(b"> ")
    elif verb == "more":
        wait_for_editor(b". ")
    elif verb == "type":
        os.write(terminal, data + b"\n")
    elif verb == "keys":
        os.write(terminal, data)
    elif verb == "signal":
        os.killpg(os.tcgetpgrp(terminal), int(text))
    elif verb == "pause":
        time.sleep(float(text))
    else:
        give_up(f"no such step: {step}")

end = time.monotonic() + 20
while read(max(0, end - time.monotonic())):
    pass
os.write(1, shown)
if time.monotonic() >= end:
    give_up("does not end")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(code if code >= 0 else 128 - code)
