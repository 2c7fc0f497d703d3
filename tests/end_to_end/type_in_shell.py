"""type_in_shell.py SHELL [ARGUMENT…] <LINES: types lines into an interactive shell, with a tab.

The shell's settings bind ^T to appending the line as it stands to the file `typed`, and end with
the prompt `ready> `. Each line of LINES is typed, then a tab (or what stands for `^` in it, as in
`^Y` for Ctrl-Y, if it ends in such), then ^T, and the line is discarded.
"""
import os
import pty
import select
import sys
import time

LONGEST_S = 60


def count_typed():
    try:
        with open("typed", encoding="utf-8") as file:
            return file.read().count("\n")
    except FileNotFoundError:
        return 0


def read_until(terminal, is_done):
    """Reads what the shell writes, so that it never waits for us, until is_done(all of it)."""
    written = b""
    end_s = time.monotonic() + LONGEST_S
    while not is_done(written):
        if time.monotonic() > end_s:
            sys.exit(f"the shell does not answer; it wrote {written[-500:]!r}")
        if select.select([terminal], [], [], 0.02)[0]:
            written += os.read(terminal, 4096)


def keys_of(line):
    if line[-2:-1] == "^":
        return line[:-2].encode() + bytes([ord(line[-1]) & 0x1F])
    return line.encode() + b"\t"


def main():
    shell, terminal = pty.fork()
    if shell == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    read_until(terminal, lambda written: b"ready> " in written)
    for line in sys.stdin.read().splitlines():
        before = count_typed()
        os.write(terminal, keys_of(line) + b"\x14")
        read_until(terminal, lambda _, before=before: count_typed() > before)
        os.write(terminal, b"\x15")
    os.write(terminal, b"exit\r")
    os.close(terminal)
    os.waitpid(shell, 0)


main()
