"""Writes a synthetic run into DIR: run.json and latency/*.hgrm, as `loopmark run` would leave them.

Usage: generate.py DIR [REPETITIONS]. Every figure and every kind of row is in it: saturated,
co-limited, latency-bound, partly and wholly invalid, skipped, too few samples. Nothing in it was
measured.
"""
import json
import math
import os
import random
import sys

DIRECTORY = sys.argv[1]
REPETITIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 8
random.seed(7)

# requests per second one server can do (1 KiB), and the loop it is (None: a foreign one)
SERVERS = {'asyncio': (40e3, None), 'uvloop': (98e3, None), 'select': (165e3, 'select'),
           'epoll': (212e3, 'epoll'), 'libuv': (208e3, 'libuv'), 'io_uring': (221e3, 'io_uring')}
GENERATOR_MOST = 205e3


def noise(share):
    return math.exp(random.gauss(0, share))


def quantiles(p50_ns, count):
    names = {'p50': 1, 'p90': 1.9, 'p95': 2.4, 'p99': 4.1, 'p999': 9, 'p9999': 21}
    beyond = {'p50': .5, 'p90': .1, 'p95': .05, 'p99': .01, 'p999': 1e-3, 'p9999': 1e-4}
    result = {'min': int(p50_ns * .6), 'mean': p50_ns * 1.1, 'max': int(p50_ns * 40),
              'count': count, 'intervals': {}}
    for name, factor in names.items():
        value = int(p50_ns * factor * noise(.03))
        known = count * beyond[name] >= 5
        result[name] = value if known else None
        if known:
            result['intervals'][name] = [int(value * .98), int(value * 1.02)]
    return result


def write_hgrm(path, p50_ns, count):
    with open(path, 'w') as file:
        file.write('%12s %14s %10s %14s\n\n' %
                   ('Value', 'Percentile', 'TotalCount', '1/(1-Percentile)'))
        half, tick = 0, 0
        while True:
            level = 1 - 2.0 ** -half + tick / (5 * 2.0 ** (half + 1))
            rarity = math.log(1 / (1 - level))
            value = p50_ns * (0.62 + 0.55 * rarity + 0.02 * rarity ** 2.6)
            file.write('%12.3f %2.12f %10d %14.2f\n' %
                       (value / 1e6, level, count * level, 1 / (1 - level)))
            if count * (1 - level) < 1:
                break
            half, tick = (half + 1, 0) if tick == 4 else (half, tick + 1)
        file.write('%12.3f %2.12f %10d\n' % (value / 1e6, 1, count))
        file.write('#[Mean    = %12.3f, StdDeviation   = %12.3f]\n' % (p50_ns / 1e6, p50_ns / 2e6))
        file.write('#[Max     = %12.3f, Total count    = %12d]\n' % (value / 1e6, count))
        file.write('#[Buckets = %12d, SubBuckets     = %12d]\n' % (32, 2048))


def base(experiment, cell, block, position, server, knobs, p50_ns, count):
    return {
        'experiment': experiment, 'cell': cell, 'block': block, 'position': position,
        'server_name': server, 'loop': SERVERS[server][1], 'workload': 'echo', 'knobs': knobs,
        'valid': True, 'invalid': [], 'window_ns': 3000000000, 'offered_rate': None,
        'requests': count, 'errors': {}, 'response_ns': quantiles(p50_ns, count),
        'service_ns': quantiles(p50_ns, count), 'lag_ns': None, 'intervals': [],
        'client': {'cpu_us_per_request': 4.2, 'user_us_per_request': .9, 'busy': .7,
                   'sent_bytes': 0, 'received_bytes': 0, 'context_switches': 10},
        'server': {'cpu_us_per_request': 5.0, 'user_us_per_request': .6, 'busy': .98,
                   'context_switches_per_request': .01, 'max_rss_bytes': int(9e6 * noise(.02)),
                   'syscalls_per_request': None},
        'host': {'steal_share': .001, 'load_1m': 1.2}, 'floor_us_per_request': 4.4}


def invalidate(repetition, *reasons):
    repetition['valid'], repetition['invalid'] = False, list(reasons)
    if 'generator saturated' in ' '.join(reasons):
        repetition['bound'] = 'generator'


def blocks(servers):
    """Every server once a block, in random order: (block, position, server)."""
    for block in range(REPETITIONS):
        order = list(servers)
        random.shuffle(order)
        for position, server in enumerate(order):
            yield block, position, server


def capacity(name, sizes, connections, servers):
    result = []
    for size in sizes:
        for n in connections:
            cell = 'size_bytes=%d connections=%d' % (size, n)
            knobs = {'size_bytes': size, 'connections': n}
            for block, position, server in blocks(servers):
                peak = SERVERS[server][0] / (1 + size / 14000)
                own = min(peak * (1 + .15 * math.log10(n)), 18e3 * n) * noise(.03)
                most = GENERATOR_MOST / (1 + size / 40000) * noise(.01)
                rate = min(own, most)
                r = base(name, cell, block, position, server, knobs, n / rate * 1e9, int(rate * 3))
                r.update(measure='capacity', arrivals='closed', achieved_rate=rate)
                r['bound'] = 'latency' if n == 1 else 'co-limited' if own > most else 'server'
                r['server']['busy'] = .45 if n == 1 else .99
                r['client']['busy'] = min(.99, rate / most * .96)
                cpu_us = 1e6 / own * noise(.01) * (1.6 if n == 1 else 1)
                r['server']['cpu_us_per_request'] = cpu_us
                if server == 'select' and block == 2:
                    invalidate(r, 'steal time 4 % of the window')
                if server == 'libuv' and n == 10 and size == 10240:
                    invalidate(r, 'generator saturated (busy 0.99), server only 0.71')
                result.append(r)
    return result


def latency(name, rate, idle_counts, servers, seconds):
    result, files = [], []
    for idle in idle_counts:
        cell = 'idle_connections=%d' % idle if idle is not None else 'rate=%d' % rate
        knobs = {'idle_connections': idle} if idle is not None else {'rate_per_s': rate}
        for block, position, server in blocks(servers):
            if server == 'select' and (idle or 0) > 900:
                continue
            dearer = (idle or 0) / (60 if server == 'select' else 90000)
            cost = 1e6 / SERVERS[server][0] * (1 + dearer)
            p50 = (30 + 4 * cost) * 1000
            count = int(rate * seconds)
            r = base(name, cell, block, position, server, knobs, p50, count)
            r.update(measure='latency', arrivals='poisson', offered_rate=rate,
                     achieved_rate=rate * noise(.0003), bound=None, lag_ns=quantiles(1500, count))
            r['server']['cpu_us_per_request'] = cost * noise(.02)
            r['server']['busy'] = min(1, rate * cost / 1e6)
            if server == 'asyncio' and idle == 10000:
                invalidate(r, 'errors: 12 timeouts', 'offered rate missed by 3.1 %')
            result.append(r)
            if block == 0 and r['valid']:
                path = 'latency/%s.%s.%s.hgrm' % (name, cell.replace(' ', '.'), server)
                write_hgrm(os.path.join(DIRECTORY, path), p50, count * REPETITIONS)
                files.append({'experiment': name, 'cell': cell, 'server_name': server,
                              'file': path})
    return result, files


def experiment(name, measure, question, axes, servers, claims=(), skipped=()):
    return {'name': name, 'file': 'harness/experiments/%s.ini' % name, 'question': question,
            'measure': measure, 'workload': 'echo', 'axes': axes, 'claims': list(claims),
            'skipped': list(skipped),
            'servers': [{'name': s, 'loop': SERVERS[s][1], 'version': '1.0', 'command':
                         ['build/loopmark', 'serve', '--loop', s]} for s in servers]}


def experiments(four, all_six, idle_four):
    return [
        experiment('loop-echo', 'capacity', 'Is uvloop 2-4x asyncio at echoing?',
                   ['size_bytes', 'connections'], four,
                   [{'name': 'A1', 'says': 'a libuv loop is 2-4x the default loop',
                     'rule': 'throughput uvloop/asyncio between 2 and 4'}]),
        experiment('loop-few-conns', 'capacity', 'Does the loop matter with few connections?',
                   ['size_bytes', 'connections'], all_six),
        experiment('loop-equal-rate', 'latency', 'Which loop answers soonest at the same rate?',
                   ['rate'], all_six,
                   [{'name': 'B2', 'says': 'p99 divided by 2.6',
                     'rule': 'p99 asyncio/uvloop about 2.6 within 20 %'}]),
        experiment('loop-idle', 'latency', 'What do idle connections cost?', ['idle_connections'],
                   idle_four,
                   skipped=[{'server_name': 'select', 'cell': 'idle_connections=10000',
                             'reason': 'select: fd 1024 is over FD_SETSIZE'}])]


def main():
    os.makedirs(os.path.join(DIRECTORY, 'latency'), exist_ok=True)
    four, all_six = ['asyncio', 'uvloop', 'epoll', 'libuv'], list(SERVERS)
    idle_four = ['asyncio', 'select', 'epoll', 'io_uring']
    equal, files = latency('loop-equal-rate', 20000, [None], all_six, 3)
    idle, more = latency('loop-idle', 10000, [0, 10, 100, 900, 10000], idle_four, 3)
    run = {
        'schema': 1, 'command': ['loopmark', 'run', 'loop-echo', '--out', 'my results'],
        'revision': '49406bf', 'started_utc': '2026-11-20T10:00:00Z',
        'finished_utc': '2026-11-20T10:21:00Z', 'complete': True, 'ended_because': None, 'seed': 7,
        'scope': 'full',
        'environment': {'caption': 'synthetic: 2 × Example CPU 2.4 GHz, Linux 6.18, tsc, '
                                   'governor not exposed, 4 GiB',
                        'warnings': ['governor: not exposed by this virtual machine',
                                     'steal time reached 4 % in one window']},
        'pinning': {'server_cpus': [0], 'generator_cpus': [1], 'shared': False, 'reason': None},
        'experiments': experiments(four, all_six, idle_four),
        'repetitions': capacity('loop-echo', [1024, 10240, 102400], [3, 10, 100], four)
        + capacity('loop-few-conns', [1024], [1, 3, 10, 30, 100, 300, 900], all_six) + equal + idle,
        'latency': files + more}
    with open(os.path.join(DIRECTORY, 'run.json'), 'w') as file:
        json.dump(run, file, indent=1, ensure_ascii=False)


main()
