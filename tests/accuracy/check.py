"""check.py FOLDER CASE EXPRESSION NAME=FILE.json|NAME=NUMBER...: is it so?

Prints what was compared, then `ok CASE` or `not ok CASE: why`. The expression is one of the
functions below or a list of them, over members such as `a.response_ns.p50`. What is not known is
never so."""
import json
import math
import os
import re
import sys
import types

from stall import implied_ns


def number(value):
    return f"{value:,.10g}" if isinstance(value, (int, float)) else repr(value)


def within(what, value, expected, tolerance):
    so = value is not None and math.isfinite(value) and abs(value - expected) <= tolerance
    return so, f"{what} {number(value)}, expected {number(expected)} +- {number(tolerance)}"


def between(what, value, low, high):
    so = value is not None and low <= value <= high
    return so, f"{what} {number(value)}, expected {number(low)} to {number(high)}"


def same(what, value, expected):
    return value == expected, f"{what} {number(value)}, expected {number(expected)}"


def one_of(what, value, *expected):
    return value in expected, f"{what} {number(value)}, expected one of {', '.join(expected)}"


def invalid_by(load, pattern):
    """Not valid, and one of the reasons matches."""
    so = not load.valid and any(re.search(pattern, reason) for reason in load.invalid)
    return so, f"invalid {load.invalid}, expected '{pattern}'"


def valid(load):
    return load.valid, f"invalid {load.invalid}"


def read(folder, text):
    try:
        return float(text)
    except ValueError:
        with open(os.path.join(folder, text), encoding="utf-8") as file:
            return json.load(file, object_hook=lambda members: types.SimpleNamespace(**members))


def main():
    folder, case, expression = sys.argv[1:4]
    names = dict(within=within, between=between, same=same, one_of=one_of, invalid_by=invalid_by,
                 valid=valid, implied_ns=implied_ns)
    try:
        for argument in sys.argv[4:]:
            name, _, value = argument.partition("=")
            names[name] = read(folder, value)
        found = eval(expression, names)  # the oracle's own text
    except (OSError, ValueError, AttributeError, TypeError) as problem:
        print(f"not ok {case}: nothing to compare: {problem}")
        return 1
    found = found if isinstance(found, list) else [found]
    for _, text in found:
        print(f"# {case}: {text}")
    wrong = [text for so, text in found if not so]
    print(f"not ok {case}: {'; '.join(wrong)}" if wrong else f"ok {case}")
    return 1 if wrong else 0


sys.exit(main())
