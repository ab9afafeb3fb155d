"""What observation costs on a GPU, with everything on, and whether the kernel's probes count the driver's calls as they were made."""
import json
import statistics
import subprocess
import time

from harness import bare_driver
from parts.alone import CORES, percent

STATES = {'off': dict(observe__probes='off'), 'on': dict(observe__probes='always', observe__launch_budget=None), 'all': dict(observe__probes='always', observe__launch_budget='0')}


def snapshot(s):
    done = subprocess.run([s.berth, 'files', '--json'], env=s.env, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout) if done.returncode == 0 else None


def family(s, name='gpu'):
    got = snapshot(s)
    return got and next(f for f in got['families'] if f['family'] == name)


def calls(s, program):
    """What the probes counted of a program since they were attached, or {}."""
    got = snapshot(s) or {'processes': []}
    return next((p['gpu_total'] for p in got['processes'] if p['pid'] == program.pid), {})


def turn(s, program, state, work='run smallops 20'):
    """Probes off, on as they are by default, or on for every call; returns once the program's own calls are counted, or nobody's are."""
    for name, value in STATES[state].items():
        if value is None:
            s.given.pop(name.replace('__', '.'), None)
    s.configure(**{name: value for name, value in STATES[state].items() if value is not None})
    if state == 'off':
        s.wait(lambda st: snapshot(s) is None, 'the probes are off', 60)
        return
    s.wait(lambda st: (f := family(s)) and (f['rung'] or f['refused']), 'the probes are settled', 60)
    if family(s)['rung']:
        s.wait(lambda st: program.ask(work) and calls(s, program).get('waits'), 'the program is heard', 60)


def exact(s, program):
    """A known number of launches is counted to the last one."""
    turn(s, program, 'all')
    before = None
    while before != (before := calls(s, program)):  # what was asked before has been counted, too
        time.sleep(2.5)
    asked = 5000
    program.ask(f'run smallops {asked}')
    want = asked + asked // 20  # some to warm up
    seen = s.wait(lambda st: (n := calls(s, program)['launches'] - before['launches']) >= want and n, 'they are counted', 20)
    s.check('launches are counted exactly', seen == want, f'{seen} of {want}')


def by_turns(s, program, kind, guess, rounds, states):
    """Seconds of segments in each state, by turns, the order of each pair turned around: {state: [...]}, iterations."""
    program.ask(f'run {kind} {guess}')
    n = max(2, int(guess / program.ask(f'run {kind} {guess}')['seconds'] * 0.25))
    seconds = {state: [] for state, _ in states}
    for i in range(rounds):
        for state, how in (states if i % 2 else states[::-1]):
            turn(s, program, state)
            program.ask(f'switch {how}')
            seconds[state].append(min(program.ask(f'run {kind} {n}')['seconds'] for _ in range(3)))
    return seconds, n


def uprobe(s, families):
    """An empty kernel's launch, with a probe on each call and without, by turns."""
    p = s.c('launch-bench', '--told', '--bursts', '400', bare=True, cores=CORES)
    p.line()
    pairs, values = [], {'off': [], 'all': []}
    for i in range(s.options.rounds):
        row = {}
        for state in (('off', 'all') if i % 2 else ('all', 'off')):
            turn(s, p, state, 'go')
            row[state] = statistics.median(p.ask('go')['median'] for _ in range(3))
            values[state].append(row[state])
        pairs.append(row['all'] - row['off'])
    turn(s, p, 'all', 'go')
    p.end()
    s.figure('uprobe_ns', round(statistics.median(pairs), 1), rounds=[round(x, 1) for x in pairs], families=families, call_ns=round(statistics.median(values['off']), 1),
             said_ns=family(s)['hooked_cost_ns'],
             method='the launch of an empty kernel in a bare program: with the probes on every call and off, by turns; median of three runs of 400 bursts each; median of pairs')


def slowdown(s, p, kind, guess, rounds):
    p.ask('switch hooked')
    p.ask(f'run {kind} 4')
    seconds, n = by_turns(s, p, kind, guess, rounds, (('off', 'bare'), ('on', 'hooked')))
    value, low, high = percent([on / off for on, off in zip(seconds['on'], seconds['off'])])
    turn(s, p, 'off')
    same = [min(p.ask(f'run {kind} {n}')['seconds'] for _ in range(3)) for _ in range(rounds)]
    return dict(pct=value, interval=[low, high], rounds=rounds, iterations=n, step_ms=round(statistics.median(seconds['off']) / n * 1e3, 3),
                off_over_off=percent([b / a for a, b in zip(same[::2], same[1::2])]))


def observe(s):
    """What the probes cost a call and a training on a GPU, and whether they count right."""
    p = s.python('apps/segments.py', cores=CORES, env={'BERTH_BARE': bare_driver(s)})
    p.line(120)
    p.ask('switch find')
    p.ask('switch bare')
    turn(s, p, 'all')
    families = {f['family']: f['rung'] or [f'{r["rung"]}: {r["reason"]}' for r in f['refused']] for f in snapshot(s)['families']}
    s.say(f'probes: {families}')
    if not isinstance(families['gpu'], str):
        s.not_run.append(f'observe: the kernel takes no probe on the driver: {families["gpu"]}')
        return
    exact(s, p)
    told = {}
    uprobe(s, families)
    for kind, guess, rounds in (('large', 4, s.options.rounds), ('training', 6, s.options.rounds)):
        told[kind] = slowdown(s, p, kind, guess, rounds)
        s.say(f'{kind}: {told[kind]}')
    s.figure('training_slowdown_pct', told['large']['pct'], **told['large'], bound_by_calls=told['training'], families=families,
             method='training steps of a transformer in PyTorch that keeps the device busy: hooked by Berth, with the probes of files and of the driver on and sampled each second, over '
                    'bare and all of it off; by turns in one process, least of three segments each; median of pairs with the interval of 95 % (bootstrap); off_over_off: neighbours '
                    'that are both off; bound_by_calls: the same with a small one, which waits for its own launches')
    turn(s, p, 'on')
    got = snapshot(s)
    s.say(f'own cost: {got["own"]}; gpu: window {family(s)["window_permille"]} permille')
    s.check('the program ended well', p.finish() == 0, p.words())
    code, r = s.c('launch-bench', '--pairs', env={'BERTH_BARE': bare_driver(s)}).result()
    if s.check('launch-bench runs', code == 0, r):
        s.figure('hook_counter_ns', round(r['hooked_median'] - r['bare_median'], 2), method='an empty kernel: the hooked call and the driver\'s own in turn in one process, medians of bursts; gate and counters together')
