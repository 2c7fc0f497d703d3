"""ratios.py RUN.json [BASE]: how servers compare to BASE (`base`), block by block, apart from the
harness.

For each server and metric the Hodges-Lehmann estimate of the ratio and its interval: the logarithms
of the blocks' ratios lie symmetrically about the truth if nothing but luck differs, so all their
signs are equally likely, which gives the signed-rank distribution exactly. The interval is of 99 %:
at 95 % one of twenty comparisons of a server with itself would fail. Only valid repetitions count.
Prints JSON: server -> metric -> ratio."""
import itertools
import json
import math
import sys

METRICS = {
    "throughput": lambda repetition: repetition["achieved_rate"],
    "cpu": lambda repetition: repetition["server"]["cpu_us_per_request"],
}
OUTSIDE = 0.01


def signed_rank_border(n, outside):
    """The largest k with P(rank sum <= k) <= outside / 2, or -1."""
    ways = [1]  # of choosing ranks with a given sum
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    below = 0
    for k, count in enumerate(ways):
        below += count
        if below > outside / 2 * 2**n:
            return k - 1
    return -1


def ratio(pairs, outside=OUTSIDE):
    logs = [math.log(a / b) for a, b in pairs]
    means = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(logs, 2))
    border = signed_rank_border(len(logs), outside)
    if border < 0:
        raise SystemExit(f"{len(logs)} blocks are too few for an interval")
    middle = (means[(len(means) - 1) // 2] + means[len(means) // 2]) / 2
    return {"estimate": math.exp(middle), "low": math.exp(means[border]),
            "high": math.exp(means[-1 - border]), "blocks": len(logs)}


def main():
    base = sys.argv[2] if len(sys.argv) > 2 else "base"
    with open(sys.argv[1], encoding="utf-8") as file:
        repetitions = json.load(file)["repetitions"]
    found = {(r["server_name"], r["block"]): r for r in repetitions if r["valid"]}
    servers = sorted({r["server_name"] for r in repetitions} - {base})
    blocks = sorted({r["block"] for r in repetitions})
    print(json.dumps({
        server: {name: ratio([(value(found[server, b]), value(found[base, b])) for b in blocks
                              if (server, b) in found and (base, b) in found])
                 for name, value in METRICS.items()}
        for server in servers}))


if __name__ == "__main__":
    main()
