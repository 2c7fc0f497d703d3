"""database_faults.py LOOP TARGET OWNER_PID PLACE FAULT...: a database that fails under load.

Serves the workload `database` on LOOP in front of the PostgreSQL at TARGET, which the process
OWNER_PID (`loopmark postgres`) keeps in the folder PLACE, and asks it on several connections, each
with several requests in flight, while the named faults happen. Of each fault:

  lost      every request that was sent got one answer, and no connection was closed for it
  crossed   each answer 200 is the row that was asked for, byte by byte, and each other one is of
            the statuses that the fault explains, with words
  whole     afterwards nothing but 200 comes, and the pool has as many connections as it is to have,
            none lent and nobody waiting

How long that took from the fault's end on is told; it has to be less than $WHOLE_MOST_S (30; the
pool's own promise is 1, which a busy machine may not be held to). Prints `ok` and `not ok` lines.
"""
import collections
import math
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

LOOPMARK = os.environ["LOOPMARK"]
PATIENCE_S = 60
WHOLE_MOST_S = float(os.environ.get("WHOLE_MOST_S", "30"))
CONNECTIONS = 16
IN_FLIGHT = 4
ROWS = 10000
PAYLOAD = (" the quick brown fox jumps over the lazy dog while the five boxing"
           " wizards jump quickly past it and away")
BIG_ID, BIG_BYTES = ROWS, 1 << 20
REFUSED_ID = 13  # a trigger refuses to change it


class Fault(Exception):
    pass


def require(condition, words):
    if not condition:
        raise Fault(words)


def until(condition, words, limit_s=PATIENCE_S):
    """Waits for a condition and returns its value."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        require(time.monotonic() < end, f"not within {limit_s} s: {words}")
        time.sleep(0.002)
    return value


def row(number):
    if number == BIG_ID:
        return None  # long, and known by its length
    payload = f"item {number}{PAYLOAD}"[:100]
    return f"{number} {number * 7919 % 1000003} {payload}\n".encode()


def is_row(number, body):
    if number == BIG_ID:
        begin = b"%d %d " % (number, number * 7919 % 1000003)
        return body.startswith(begin) and body[len(begin):] == b"x" * BIG_BYTES + b"\n"
    return body == row(number)


# ---- the server under test -----------------------------------------------------------------------


class Server:
    """`loopmark serve`, with the other end of its control socket."""

    def __init__(self, loop, target, **knobs):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(PATIENCE_S)
        settings = [word for name, value in knobs.items() for word in ("--set", f"{name}={value}")]
        self.errors = open("served.err", "w+b")
        self.process = subprocess.Popen(
            [LOOPMARK, "serve", "--loop", loop, "--workload", "database",
             "--listen", "127.0.0.1:0", "--control-fd", str(theirs.fileno()), *settings],
            env={**os.environ, "LOOPMARK_DATABASE": target}, stdout=subprocess.PIPE,
            stderr=self.errors, pass_fds=[theirs.fileno()])
        theirs.close()
        announced = self.process.stdout.readline().split()
        require(announced, f"the server does not start: {self.words()}")
        self.address = announced[-1].decode().rpartition(":")

    def words(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def counters(self):
        """As harness/control.h has them: the question's number, a count, then names and values."""
        self.control.sendall(struct.pack("QQ", 1, ord("w")))
        told = self.control.recv(4096)
        require(told, f"the server has ended: {self.words()}")
        count, = struct.unpack_from("N", told, 8)
        pairs = (struct.unpack_from("24sd", told, 16 + 32 * i) for i in range(count))
        return {name.rstrip(b"\0").decode(): value for name, value in pairs}

    def connect(self):
        connection = socket.create_connection((self.address[0], int(self.address[2])))
        connection.settimeout(PATIENCE_S)
        return connection

    def stop(self):
        self.process.terminate()
        status = self.process.wait(PATIENCE_S)
        words = self.words()
        require(status == 0 and not words, f"the server ended with {status}: {words}")


class Asker:
    """One connection with requests in flight, whose answers are awaited in their order."""

    def __init__(self, server):
        self.connection = server.connect()
        self.received = b""

    def send(self, number, path):
        method = "POST" if path == "update" else "GET"
        request = f"{method} /{path}/{number} HTTP/1.1\r\nHost: x\r\n"
        request += "Content-Length: 0\r\n\r\n" if method == "POST" else "\r\n"
        self.connection.sendall(request.encode())

    def _receive(self):
        more = self.connection.recv(1 << 18)
        require(more, "lost: the server has closed a connection that waited for an answer")
        self.received += more

    def answer(self):
        """Its status and its body."""
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            self._receive()
        head = self.received[:end].split(b"\r\n")
        lengths = [int(line[15:]) for line in head if line.lower().startswith(b"content-length:")]
        require(len(lengths) == 1, f"no length: {head}")
        size = end + 4 + lengths[0]
        while len(self.received) < size:
            self._receive()
        body, self.received = self.received[end + 4:size], self.received[size:]
        return int(head[0].split()[1]), body


class Load:
    """Askers in threads of their own, until told to stop; then all their answers are awaited."""

    def __init__(self, server, questions=lambda random: ("row", random.randint(1, ROWS - 1)),
                 connections=CONNECTIONS, in_flight=IN_FLIGHT):
        self.server, self.questions, self.in_flight = server, questions, in_flight
        self.going = True
        self.sent = self.good = 0
        self.bad = collections.Counter()  # by status and words
        self.last_bad = 0  # when it came
        self.changed = collections.Counter()
        self.wrong = None
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                        for i in range(connections)]
        for thread in self.threads:
            thread.start()

    def _run(self, seed):
        try:
            self._ask(Asker(self.server), random.Random(seed))
        except (Fault, OSError) as error:
            self.wrong = self.wrong or str(error) or repr(error)

    def _ask(self, asker, choices):
        waiting = collections.deque()
        while self.going or waiting:
            while self.going and len(waiting) < self.in_flight:
                question = self.questions(choices)
                asker.send(question[1], question[0])
                waiting.append(question)
                with self.lock:
                    self.sent += 1
            if waiting:
                self._note(waiting.popleft(), *asker.answer())
        require(not asker.received, "an answer that nobody asked for")

    def _note(self, question, status, body):
        path, number = question
        if status == 200:
            right = body.startswith(b"%d " % number) if path == "update" else is_row(number, body)
            require(right, f"crossed: /{path}/{number} got {body[:60]!r}")
        with self.lock:
            if status == 200:
                self.good += 1
                self.changed[number] += path == "update"
            else:
                self.bad[status, body.decode(errors="replace").strip()] += 1
                self.last_bad = time.monotonic()

    def check(self):
        require(not self.wrong, self.wrong)

    def progress(self, answers=200):
        """Waits for so many good answers from now on."""
        goal = self.good + answers
        until(lambda: self.wrong or self.good >= goal,
              f"{answers} more good answers; bad ones: {self.bad}")
        self.check()

    def end(self, *expected):
        """All that was sent has been answered; bad answers have one of the expected words."""
        self.going = False
        for thread in self.threads:
            thread.join(PATIENCE_S)
            require(not thread.is_alive(), "lost: a request without an answer")
        self.check()
        answers = self.good + sum(self.bad.values())
        require(answers == self.sent, f"lost: {self.sent} requests, {answers} answers")
        for status, words in self.bad:
            require(any(words_of in f"{status} {words}" for words_of in expected),
                    f"not explained by the fault: {status} {words}")


# ---- the database --------------------------------------------------------------------------------


class Postgres:
    def __init__(self, target, owner, place):
        self.target, self.owner, self.place = target, owner, place

    def with_words(self, **words):
        """The target with other values of its words, or of the database."""
        target = self.target
        if "database" in words:
            target = target.replace("/postgres?", f"/{words.pop('database')}?")
        if "user" in words:
            target = target.replace("user=postgres", f"user={words.pop('user')}")
        return target

    def run(self, *commands):
        done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.target],
                              input=";\n".join(commands), capture_output=True, text=True,
                              timeout=PATIENCE_S)
        require(done.returncode == 0, f"psql: {done.stderr}")
        return done.stdout.strip()

    def processes(self):
        """All of the server's that work in its folder."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{name}/cwd").startswith(self.place + "/data"):
                    found.append(int(name))
            except OSError:
                pass
        return found

    def answers(self):
        return subprocess.run(["pg_isready", "-q", "-d", self.target]).returncode == 0

    def postmaster(self):
        with open(f"{self.place}/data/postmaster.pid") as file:
            return int(file.readline())


# ---- faults --------------------------------------------------------------------------------------


class Case:
    """A server before a fault, and what has to be so after it."""

    def __init__(self, loop, postgres, name, **knobs):
        self.loop, self.postgres, self.name = loop, postgres, name
        self.knobs = {"pool_min": 4, "pool_max": 8, "pipeline_depth": 8, **knobs}
        self.server = None
        self.told = ""

    def serve(self, target=None):
        self.server = Server(self.loop, target or self.postgres.target, **self.knobs)
        return self.server

    def has_least(self):
        return self.server.counters()["pool_size"] >= self.knobs["pool_min"]

    def whole(self, load, ended, *expected):
        """The fault has ended at `ended`, or (inf) does with the load, which goes on."""
        until(lambda: load.wrong or self.has_least(), "the pool has as many as it is to have")
        full = time.monotonic()
        load.progress()
        load.end(*expected)
        took_s = max(full, load.last_bad) - ended
        self.told = f"{load.sent} requests, {load.good} good"
        for (status, words), count in load.bad.items():
            self.told += f", {count} of {status} ({words[:48]})"
        self.told += f"; whole after {max(took_s, 0) * 1e3:.0f} ms"
        require(took_s <= WHOLE_MOST_S, f"{self.told}: more than {WHOLE_MOST_S} s")
        self.at_rest(load.sent)

    def at_rest(self, requests):
        counters = {}

        def rests():
            counters.update(self.server.counters())
            return counters["pool_lent"] == 0 and counters["waiters"] == 0 and \
                counters["pool_idle"] == counters["pool_size"] >= self.knobs["pool_min"]
        try:
            until(rests, "at rest", 10)
        except Fault:
            raise Fault(f"not whole: {counters}") from None
        require(counters["requests"] >= requests, f"{counters['requests']} of {requests} arrived")
        require(counters["pool_size_most"] <= self.knobs["pool_max"], f"over its most: {counters}")


BROKEN = ("500 terminating connection", "500 server closed the connection",
          "500 the query was not answered", "500 SSL connection", "503 no connection")


def terminated(case):
    """pg_terminate_backend of connections chosen at random"""
    load = Load(case.serve())
    load.progress()
    ended = 0
    for _ in range(4):
        case.postgres.run("select pg_terminate_backend(pid) from pg_stat_activity where"
                          " application_name = 'loopmark' order by random() limit 2")
        ended = time.monotonic()
        load.progress(50)
    case.whole(load, ended, *BROKEN)
    require(case.server.counters()["connects"] > 4, "no connection was ended")


def restarted(case):
    """the server goes and comes again"""
    load = Load(case.serve())
    load.progress()
    before = case.postgres.postmaster()
    os.kill(case.postgres.owner, signal.SIGUSR1)

    def is_new():
        try:
            return case.postgres.postmaster() != before and case.postgres.answers()
        except (OSError, ValueError):
            return False
    until(is_new, "it comes again")
    case.whole(load, time.monotonic(), *BROKEN, "500 FATAL", "500 the database system")
    require(load.bad, "the restart was not noticed")


def stopped(case):
    """SIGSTOP for longer than a command may take"""
    case.knobs.update(command_timeout="200ms", acquire_timeout="400ms")
    load = Load(case.serve())
    load.progress()
    os.kill(case.postgres.postmaster(), signal.SIGSTOP)  # it makes no more of them
    processes = case.postgres.processes()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:  # all that were lent are lost, and then nobody gets any
        until(lambda: load.wrong or any(status == 503 for status, _ in load.bad),
              f"requests are refused; {load.bad}")
        time.sleep(1.5)  # also those that were asked to cancel are given up by now
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
    ended = time.monotonic()
    case.whole(load, ended, "504 the database did not answer in time",
               "503 no connection to the database within the time", *BROKEN)
    require(any(status == 504 for status, _ in load.bad), f"nothing took too long: {load.bad}")


def too_many(case):
    """max_connections smaller than the pool"""
    most = int(case.postgres.run("show max_connections"))
    case.knobs.update(pool_min=most + 20, pool_max=most + 20, pipeline_depth=1)
    load = Load(case.serve(), connections=most + 16)
    load.progress()
    until(lambda: case.server.counters()["connects_failed"] >= 3, "connects are refused")
    load.progress()
    counters = case.server.counters()
    require(counters["pool_size"] <= most + 1, f"{most} are there: {counters}")
    case.knobs["pool_min"] = 1  # as many as there are
    case.whole(load, time.monotonic(), "503 no connection")


def batch(case):
    """a query that is refused, among others of its pipelined batch"""
    def questions(choices):
        if choices.random() < 0.05:
            return "update", REFUSED_ID
        if choices.random() < 0.3:
            return "update", choices.randint(20, 60)
        return "row", choices.randint(100, ROWS - 1)
    total = "select sum(value) from item where id between 13 and 60"
    case.knobs.update(writes="yes", pool_min=2, pool_max=2)
    before = int(case.postgres.run(total))
    load = Load(case.serve(), questions)
    load.progress(1000)
    until(lambda: load.wrong or load.bad, "one was refused")
    load.progress()
    case.whole(load, math.inf, "500 this row stays as it is")
    made = int(case.postgres.run(total)) - before
    case.postgres.run("update item set value = id * 7919 % 1000003 where id between 20 and 60")
    told = sum(load.changed.values())
    require(made == told and told > 0, f"lost: {told} changes were told as made, {made} were")


def long_rows(case):
    """rows of 1 MiB among short ones"""
    def questions(choices):
        return "row", BIG_ID if choices.random() < 0.1 else choices.randint(100, ROWS - 1)
    load = Load(case.serve(), questions)
    load.progress(400)
    case.whole(load, time.monotonic())
    require(not load.bad, f"{load.bad}")


def gone(case):
    """clients that go while their query runs, or while they wait for a connection"""
    # 16 + 24 clients have a query each under way; for 24 of them no connection has place
    case.knobs.update(pool_min=2, pool_max=2)
    load = Load(case.serve())
    load.progress()
    for i in range(4):
        leavers = [Asker(case.server) for _ in range(24)]
        for leaver in leavers:
            leaver.send(50, "slow")
            leaver.send(5000, "row")
        until(lambda: case.server.counters()["waiters"] > 0, "they wait")
        for leaver in leavers:
            if i % 2:  # by a reset
                leaver.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
            leaver.connection.close()
    ended = time.monotonic()
    case.whole(load, ended)
    require(not load.bad, f"others were told {load.bad}")


def refused(case, target, words, mend):
    """A pool that gets no connection at all, until mend() has run."""
    load = Load(case.serve(target))
    until(lambda: load.wrong or sum(load.bad.values()) >= 64, "requests are refused")
    load.check()
    counters = case.server.counters()
    require(load.good == 0 and counters["pool_size"] <= 1, f"{load.good} good; {counters}")
    connects = counters["connects"]
    time.sleep(0.2)  # it pauses: not one for each request that is refused
    connects = case.server.counters()["connects"] - connects
    require(connects <= 20, f"{connects} connects in 0.2 s")
    mend()
    case.whole(load, time.monotonic(), words)


def wrong_password(case):
    """it is refused until the database learns the password"""
    access = f"{case.postgres.place}/data/pg_hba.conf"
    rules = "('local all secretive scram-sha-256'), ('local all all trust')"
    case.postgres.run("set password_encryption = 'scram-sha-256'",
                      "create role secretive login password 'another'",
                      "grant select on item to secretive",
                      f"copy (values {rules}) to '{access}'", "select pg_reload_conf()")
    target = case.postgres.with_words(user="secretive") + "&password=mine"
    until(lambda: subprocess.run(["psql", "-Xqc", "", target],
                                 capture_output=True).returncode != 0, "the rules are in force")
    refused(case, target, "503 no connection", lambda: case.postgres.run(
        "alter role secretive password 'mine'"))


def no_database(case):
    """it comes into being while the pool tries"""
    case.postgres.run("create database unborn")
    born = Postgres(case.postgres.with_words(database="unborn"), 0, "")
    born.run("create table item as select i as id, i * 7919 % 1000003 as value,"
             f" substr('item ' || i || '{PAYLOAD}', 1, 100) as payload"
             " from generate_series(1::bigint, 10000) i",
             "create unique index on item(id)", "analyze item")
    target = case.postgres.with_words(database="nowhere")
    refused(case, target, "503 no connection", lambda: case.postgres.run(
        "alter database unborn rename to nowhere"))
    case.server.stop()
    case.server = None
    case.postgres.run("drop database nowhere with (force)")


FAULTS = (terminated, restarted, stopped, too_many, batch, long_rows, gone, wrong_password,
          no_database)


def prepare(postgres):
    postgres.run(
        f"update item set payload = repeat('x', {BIG_BYTES}) where id = {BIG_ID}",
        "create or replace function refuse() returns trigger language plpgsql as"
        " $$ begin raise 'this row stays as it is'; end $$",
        "drop trigger if exists refuses on item",
        "create trigger refuses before update on item for each row"
        f" when (old.id = {REFUSED_ID}) execute function refuse()")


def main():
    loop, target, owner, place = sys.argv[1:5]
    postgres = Postgres(target, int(owner), place)
    failures = 0
    prepare(postgres)
    for fault in FAULTS:
        if fault.__name__ not in sys.argv[5:]:
            continue
        name = f"{loop}/{fault.__name__}"
        case = Case(loop, postgres, name)
        began = time.monotonic()
        try:
            fault(case)
            if case.server:
                case.server.stop()
            print(f"{name}: {case.told}; {time.monotonic() - began:.1f} s in all", file=sys.stderr)
            print(f"ok {name}", flush=True)
        except (Fault, OSError, subprocess.TimeoutExpired) as error:
            failures += 1
            print(f"not ok {name}: {error}", flush=True)
            if case.server:
                case.server.process.kill()
    sys.exit(failures > 0)


main()
