"""Trainings that do not fit together: what sharing costs over running them one after the other, and that every bit of the results is the same."""
import json
import time

from harness import GIB


def command(name, gib, layers, seed, *more):
    return ['apps/train.py', '--gib', str(gib), '--layers', str(layers), '--seed', str(seed), '--name', name, *more]


def two(s):
    """Two trainings that together need 1.4 to 1.6 times the card: with default settings, then with --priority batch, each over running one after the other."""
    gib, total = s.options.gib, s.device()['total_bytes']
    begin = time.monotonic()
    code, alone = s.python(*command('alone', gib, 12, 1, '--seconds', str(s.options.seconds)), bare=True).result()
    one = time.monotonic() - begin
    if not s.check('a training alone', code == 0 and alone.get('ballast_ok'), json.dumps(alone)):
        return
    serial = 2 * one
    right = True
    for figure, options in (('two_trainings_over_serial', ()), ('two_trainings_batch_over_serial', ('--priority', 'batch'))):
        s.wait(lambda st: not st['clients'], 'nobody is there')
        before, begin = s.device(), time.monotonic()
        both = [s.python(*command(name, gib, 12, seed, '--steps', str(alone['steps'])), options=options) for name, seed in (('a', 1), ('b', 2))]
        results = [p.result() for p in both]
        wall = time.monotonic() - begin
        after = s.device()
        good = all(code == 0 and r.get('ballast_ok') and r.get('digest') == alone['digest'] for code, r in results)
        right = s.check('both trainings are right bit for bit', good, json.dumps([r for _, r in results])) and right
        moved = {way: after[f'{way}_bytes'] - before[f'{way}_bytes'] for way in ('out', 'in')}
        switches = after['switches'] - before['switches']
        s.check('they took turns', switches > 0, switches)
        if not good:
            continue
        s.figure(figure, round(wall / serial, 3), wall_s=round(wall, 1), serial_s=round(serial, 1), alone_s=round(one, 1), steps=alone['steps'],
                 gib_each=gib, over_card=round(2 * gib * GIB / total, 2), switches=switches, moved_out_gib=round(moved['out'] / GIB, 1), moved_in_gib=round(moved['in'] / GIB, 1),
                 method=f'two trainings (transformer, AdamW, bf16, CUDA graph, ballast) of {gib:g} GiB each; whole run of both from start to last result over twice the whole '
                        'run of one alone and bare, start-up of PyTorch included on both sides')
    s.figure('two_trainings_right', int(right), method='losses, weights and graph results equal bit for bit to the bare run; every word of the ballast as its seed and the steps say')


def three(s):
    """First light: two trainings that each fill two thirds of the card and a small third one, alone and then all at once, bit for bit the same."""
    jobs = [('a', 91, 12, 1), ('b', 91, 12, 2), ('c', 3, 1, 3)]
    alone = {}
    for job in jobs:
        code, alone[job[0]] = s.python(*command(*job, '--seconds', str(s.options.seconds if job[0] != 'c' else s.options.seconds / 3)), bare=True).result()
        s.check(f'{job[0]} alone', code == 0, json.dumps(alone[job[0]]))
    before, begin = s.device(), time.monotonic()
    together = [(job[0], s.python(*command(*job, '--steps', str(alone[job[0]]['steps'])))) for job in jobs]
    result = {}
    for name, p in together:
        code, result[name] = p.result()
        s.check(f'{name} beside the others', code == 0, json.dumps(result[name]))
    wall, after = time.monotonic() - begin, s.device()
    equal = all(result[n].get('digest') == alone[n].get('digest') and result[n].get('ballast_ok') for n in alone)
    s.check('results equal bit for bit to running alone', equal)
    s.figure('two_trainings_equal', int(equal), unit='bool', better='higher', limit=1, gib=[result[n].get('gib') for n in alone], steps=[alone[n]['steps'] for n in alone])
    for way in ('out', 'in'):
        moved, ns = after[f'{way}_bytes'] - before[f'{way}_bytes'], after[f'{way}_ns'] - before[f'{way}_ns']
        s.figure(f'trainings_swapped_{way}_gib', round(moved / GIB, 1), unit='GiB', better='lower', seconds=ns / 1e9, gbps=round(moved / max(1, ns), 2))
    switches = after['switches'] - before['switches']
    s.figure('trainings_switches', switches, unit='count', better='lower')
    serial = sum(r['whole_seconds'] for r in alone.values())
    s.figure('trainings_wall_over_serial', round(wall / serial, 3), unit='ratio', better='lower', wall=wall, serial=serial)
    waited, bound = after['max_wait_ns'] or 0, after['max_wait_bound_ns'] or 1
    s.figure('max_wait_over_bound', round(waited / bound, 3), unit='ratio', better='lower', limit=1, max_wait_s=waited / 1e9, bound_s=bound / 1e9)
    s.check('forced switching happened', switches > 0)
    s.check('every wait below its stated bound', waited < bound, f'{waited / bound:.2f}')
