"""processes.py [PARENT [WORD]]: the ids of the processes that this test has started.

They have $LOOPMARK_TEST in their environment, whoever is their parent now. Only those with the
parent PARENT and with WORD among their arguments, if that is asked for.
"""
import os
import sys

mark = b"LOOPMARK_TEST=" + os.environb[b"LOOPMARK_TEST"]


def read(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def is_meant(pid):
    fields = read(pid, "stat").rpartition(b")")[2].split()
    if fields[0] in b"ZX" or mark not in read(pid, "environ").split(b"\0"):
        return False
    if len(sys.argv) > 1 and fields[1] != sys.argv[1].encode():
        return False
    return len(sys.argv) < 3 or sys.argv[2].encode() in read(pid, "cmdline").split(b"\0")


for name in os.listdir("/proc"):
    try:
        if name.isdigit() and int(name) != os.getpid() and is_meant(name):
            print(name)
    except OSError:
        pass  # it has just ended, or is not ours
