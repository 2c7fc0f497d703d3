"""Compares histograms as loopmark reports them with what another implementation says of them.

compare.py entries OURS THEIRS [FILE]   OURS: what `loopmark hist … --json` prints. THEIRS: a list
    of entries, or with FILE that file's list in a dictionary of them. An entry has any of tag,
    start_s, length_s, count, min, max, p50, p90, p95, p99, p999, p9999, mean and stddev; or it is a
    table, with rows of value, quantile and total count, and table_unit.
compare.py text OURS THEIRS             percentile tables, line by line
compare.py rows OURS THEIRS [FILE]      OURS: the table made of what was read from the table THEIRS,
    or whose rows are those of FILE's entry
compare.py intervals OURS THEIRS        THEIRS: what HistogramLogProcessor -o FILE prints to FILE

Integers and texts have to be equal. Exit status 1 and one line on stderr: what differs first.
"""

import json
import math
import re
import sys

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}
TOLERANCE = {"mean": 1e-12, "stddev": 1e-9}
NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
STEP = 1 / 1024  # what a value of three digits may be rounded up by


def differ(where, what, ours, theirs):
    sys.exit(f"{where}: {what} is {ours}, and for the other {theirs}")


def read_ours(path):
    with open(path) as file:
        entries = json.load(file)["histograms"]
    for entry in entries:
        quantiles = {row["quantile"]: row["value"] for row in entry["quantiles"]}
        entry.update({name: quantiles[q] for name, q in QUANTILES.items()})
    return entries


def read_theirs(path, name):
    with open(path) as file:
        data = json.load(file)
    return data[name] if name else data


def check_key(where, key, ours, theirs):
    if key in ("start_s", "length_s"):
        equal = abs(ours - theirs) < 0.0011  # logs have milliseconds; some cut, some round
    elif key in TOLERANCE:
        equal = math.isclose(ours, theirs, rel_tol=TOLERANCE[key], abs_tol=1e-9)
    else:
        equal = ours == theirs
    if not equal:
        differ(where, key, ours, theirs)


# A table's value is rounded to its decimals, and then up to the end of a counter's range.
def is_value(ours_ns, value, unit_ns):
    return value * unit_ns <= ours_ns + 0.5 and ours_ns <= value * unit_ns * (1 + STEP) + 1


def check_table(where, ours, theirs):
    rows = theirs["rows"]
    count = rows[-1][2]
    if ours["count"] != count:
        differ(where, "count", ours["count"], count)
    for name, q in QUANTILES.items():
        rank = max(1, math.ceil(round(q * count, 6)))
        value = next(row[0] for row in rows if row[2] >= rank)
        if not is_value(ours[name], value, NS[theirs["table_unit"]]):
            differ(where, name, ours[name], f"{value} {theirs['table_unit']}")


# By tag, since ours may be in another order; equal ones stay in theirs. An empty histogram has
# neither mean nor quantiles: implementations print 0, NaN or the first counter's end.
def check_entries(ours, theirs):
    by_tag = lambda entry: entry.get("tag") or ""
    ours, theirs = sorted(ours, key=by_tag), sorted(theirs, key=by_tag)
    if len(ours) != len(theirs) or not ours:
        differ("the file", "number of entries", len(ours), len(theirs))
    for i, (our, their) in enumerate(zip(ours, theirs)):
        where = f"entry {i + 1} (tag {their.get('tag')})"
        if "rows" in their:
            check_table(where, our, their)
            continue
        for key, value in their.items():
            if their["count"] > 0 or key in ("tag", "count", "start_s", "length_s"):
                check_key(where, key, our[key], value)


def numbers(line):
    return [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?|inf|Infinity", line)]


# Known differences: Java and JavaScript round half up from the shortest decimals and printf from
# the number itself, which shows in 1/(1-p), mean and deviation, in the last place; and an
# implementation that still has the values prints the exact maximum, one that read them their
# counter's last value.
def check_line(where, ours, theirs):
    if ours == theirs:
        return
    a, b = numbers(ours), numbers(theirs)
    same_form = re.sub(r"[\d. ]+", "#", ours) == re.sub(r"[\d. ]+", "#", theirs)
    if not same_form or len(a) != len(b):
        differ(where, "the line", repr(ours), repr(theirs))
    decimals = len(ours.split(".")[1].split()[0].rstrip("],")) if "." in ours else 0
    unit = 1.01 * 10.0**-decimals
    if ours.startswith("#[Mean"):
        equal = abs(a[0] - b[0]) <= unit and abs(a[1] - b[1]) <= unit
    elif ours.startswith("#[Max"):
        equal = a[1] == b[1] and abs(a[0] - b[0]) <= STEP * b[0] + unit
    else:
        equal = len(a) == 4 and a[:3] == b[:3] and abs(a[3] - b[3]) <= 0.0101
    if not equal:
        differ(where, "the line", repr(ours), repr(theirs))


# What HistogramLogProcessor says above a table is not the table's.
def table_lines(path):
    with open(path) as file:
        lines = file.read().split("\n")
    return [line for line in lines if not re.match(r"#\[(StartTime|Overall)", line)]


def check_text(ours, theirs):
    ours, theirs = table_lines(ours), table_lines(theirs)
    for i, (our, their) in enumerate(zip(ours, theirs)):
        check_line(f"line {i + 1}", our, their)
    if len(ours) != len(theirs) or len(ours) < 4:
        differ("the table", "number of lines", len(ours), len(theirs))


def table_rows(path):
    return [numbers(line)[:3] for line in table_lines(path) if re.match(r" *\d", line)]


# The histogram made of a table has its rows again: their values printed with three decimals, and
# before that taken up to the end of a counter's range.
def check_rows(ours, theirs):
    if len(ours) != len(theirs) or not ours:
        differ("the table", "number of rows", len(ours), len(theirs))
    for i, (our, their) in enumerate(zip(ours, theirs)):
        is_row = our[2] == their[2] and abs(our[1] - their[1]) < 1e-6
        if not is_row or not -0.0005 <= our[0] - their[0] <= their[0] * STEP + 0.0011:
            differ(f"row {i + 1}", "it", our, their)


# "1.000: I:10 ( 50% 90% Max ) T:10 ( 50% 90% 99% 99.9% 99.99% Max )", of one tag, values in ns
def check_intervals(ours, theirs):
    with open(theirs) as file:
        lines = [line for line in file if " I:" in line]
    if len(lines) != len(ours):
        differ("the log", "number of intervals", len(ours), len(lines))
    for i, (entry, line) in enumerate(zip(ours, lines)):
        their = [int(round(number)) for number in numbers(line)[1:5]]
        our = [entry[key] for key in ("count", "p50", "p90", "max")]
        if our[0] != their[0] or our[0] > 0 and our != their:
            differ(f"interval {i + 1}", "count, p50, p90, max", our, their)
    total = int(numbers(lines[-1])[5])
    if total != sum(entry["count"] for entry in ours):
        differ("the log", "count", sum(entry["count"] for entry in ours), total)


def main():
    what, ours, theirs = sys.argv[1:4]
    name = sys.argv[4] if len(sys.argv) > 4 else None
    if what == "entries":
        check_entries(read_ours(ours), read_theirs(theirs, name))
    elif what == "rows":
        rows = read_theirs(theirs, name)[0]["rows"] if name else table_rows(theirs)
        check_rows(table_rows(ours), rows)
    elif what == "intervals":
        check_intervals(read_ours(ours), theirs)
    else:
        check_text(ours, theirs)


main()
