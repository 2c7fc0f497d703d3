"""aa.py RUN.json: a loop beside itself, cell by cell.

The CPU time per request of epoll-again over that of epoll with the 95 % interval of ratios.py; how
many of them exclude 1, and how wide they are. Prints JSON."""
import json
import sys

from ratios import ratio


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        repetitions = json.load(file)["repetitions"]
    cells = {}
    for r in repetitions:
        if r["valid"]:
            cells.setdefault(r["cell"], {})[r["server_name"], r["block"]] = (
                r["server"]["cpu_us_per_request"])
    ratios = {}
    for cell, cpu in cells.items():
        blocks = sorted({block for _, block in cpu})
        pairs = [(cpu["epoll-again", b], cpu["epoll", b]) for b in blocks
                 if ("epoll-again", b) in cpu and ("epoll", b) in cpu]
        if len(pairs) >= 6:
            ratios[cell] = ratio(pairs, 0.05)
    halves = sorted((r["high"] - r["low"]) / 2 for r in ratios.values())
    print(json.dumps({"comparisons": len(ratios),
                      "flagged": sum(not r["low"] <= 1 <= r["high"] for r in ratios.values()),
                      "half_width_median": halves[len(halves) // 2] if halves else None,
                      "half_width_most": halves[-1] if halves else None,
                      "cells": ratios}, indent=1))


main()
