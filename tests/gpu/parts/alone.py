"""What a program pays that has the device to itself, or shares it with one that fits: nothing to speak of.

Bare and hooked processes live side by side, on the same cores, and run short segments in turn; each round compares segments that ran within a second of each other.
Two processes of each kind, so that the difference between two that are the same is known as well: no claim is finer than that.
"""
import math
import random
import statistics

from harness import bare_driver
import others

CORES = range(2, 8)


def alloc(s):
    """cuMemAlloc and cuMemFree, one at a time and eight alive, hooked and bare in turn in one process."""
    rows = []
    for live, rounds in ((1, 400), (8, 60)):
        arguments = ('--live', str(live), '--rounds', str(rounds if not s.software else 20), *(('--most', '8MiB') if s.software else ()))
        code, result = s.c('alloc-bench', *arguments, env={'BERTH_BARE': bare_driver(s)}).result()
        if s.check(f'alloc-bench runs, {live} alive', code == 0, '' if code == 0 else result):
            rows += [dict(bytes=x['bytes'], live=live, us=x['us'], bare_us=x['bare_us'], ratio=round(x['us'] / x['bare_us'], 3)) for x in result['sizes']]
    for row in rows:
        s.say(row)
    s.figure('alloc_over_driver', max(r['ratio'] for r in rows), rows=rows,
             method='cuMemAlloc + cuMemFree of 2, 8, 32 and 64 MiB, one alive and eight alive; hooked and bare rounds alternate in one process, medians; '
                    'the value is the worst ratio')
    for who, options in others.preloaded(s):  # they can't be passed by in their own process: a bare run before and after
        runs = [s.c('alloc-bench', **how).result(60) for how in (dict(bare=True), options, dict(bare=True))]
        if any(code for code, _ in runs):
            s.not_run.append(f'alloc: {who}: {runs[1][0]}')
            continue
        first, theirs, last = ([x['us'] for x in result['sizes']] for _, result in runs)
        ratios = [round(t / ((a + b) / 2), 3) for a, t, b in zip(first, theirs, last)]
        s.peer('alloc_over_driver', who, max(ratios), ratios=ratios, us=theirs, how='one alive; its run between two bare ones')


def start(s, kinds, *arguments):
    """Processes by kind: [(kind, program)], all begun at once, all ready. Some processes replay graphs up to 9 % faster than others, whoever they are, most often the
    first on the device: that place is taken by one that only sits there."""
    first = s.python('apps/segments.py', *arguments, cores=CORES, bare=True)
    first.line(90)
    s.idle = first
    begun = [(kind, s.python('apps/segments.py', *arguments, cores=CORES, **options)) for kind, options in kinds]
    ready = []
    for kind, program in begun:
        try:
            program.line(90)
            ready.append((kind, program))
        except RuntimeError as error:
            without(s, kind, program, error)
    return ready


def without(s, kind, program, error):
    """Another's failure is said and stops nothing; our own or the bare program's does."""
    if kind in ('bare', 'berth'):
        raise error
    s.not_run.append(f'{s.part}: {kind}: {str(error)[-300:]}')
    program.end()


def interval(values, draws=2000):
    """95 % of the medians that other rounds of the same kind would have had (bootstrap)."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(draws * 0.025)], medians[int(draws * 0.975)]


def percent(ratios):
    """(overhead, from, to) in percent."""
    low, high = interval(ratios)
    return tuple(round((x - 1) * 100, 3) for x in (statistics.median(ratios), low, high))


def in_turn(s, processes, kind, n, rounds, chance):
    """Seconds by program of each round, in an order that changes."""
    table = []
    for _ in range(rounds):
        order = list(processes)
        chance.shuffle(order)
        row = {}
        for who, p in order:
            try:
                row[p.name] = p.ask(f'run {kind} {n}', 60)['seconds']
            except RuntimeError as error:
                without(s, who, p, error)
                processes.remove((who, p))
        table.append(row)
    return table


def ratios_of(table, above, below):
    """Of each round: geometric mean of the one kind over that of the other."""
    def mean(row, names):
        return statistics.fmean(math.log(row[name]) for name in names)
    return [math.exp(mean(row, above) - mean(row, below)) for row in table]


def overhead(s):
    """Small operations, graph replays and training steps under Berth alone, over bare."""
    loops = in_one_pytorch(s)
    for name, more in (('smallops', ()), ('graph', ('--graph', '50'))):
        code, r = s.c('launch-bench', '--pairs', *more, env={'BERTH_BARE': bare_driver(s)}).result()
        if s.check(f'launch-bench runs ({name})', code == 0, r):
            s.figure(f'alone_overhead_pct_{name}', round(100 * (r['hooked_median'] / r['bare_median'] - 1), 3), loops=loops[name],
                     us={'bare': round(r['bare_median'] / 1000, 3), 'berth': round(r['hooked_median'] / 1000, 3)},
                     method='an empty kernel, or a graph of 50 of them run to its end: the hooked call and the driver\'s own in turn in one process, medians of bursts; '
                            'loops: the same in a loop of PyTorch, in turn in one process, as the training')
    s.figure('alone_overhead_pct_training', loops['training']['pct'], **loops['training'],
             method='one PyTorch process under Berth whose libraries\' pointers to the driver\'s gated calls are exchanged for the driver\'s own and back (switch.py): '
                    'segments hooked and bare in turn, which of them first is drawn; median of the ratios of neighbours, with the interval of 95 % (bootstrap); '
                    'bare_over_bare: the same with both of them bare')
    kinds = others.preloaded(s)
    if kinds:
        against_others(s, kinds)


def in_one_pytorch(s):
    """Two processes that run the same differ by more than what is looked for. So: one, which calls the driver hooked and bare in turn."""
    p = s.python('apps/segments.py', cores=CORES, env={'BERTH_BARE': bare_driver(s)})
    p.line(120)
    found = p.ask('switch find')
    p.ask('run training 4')
    issued = {}
    for how in ('bare', 'hooked'):
        exchanged = p.ask(f'switch {how}')
        before = s.client(p)['launches']
        p.ask('run training 10')
        issued[how] = s.client(p)['launches'] - before
    s.check('bare segments pass nothing of Berth', issued['bare'] <= issued['hooked'] / 100 and issued['hooked'] > 100, f'{issued} launches seen; {found} {exchanged}')
    loops = {}
    for kind, guess, rounds in (('smallops', 4000, 3 * s.options.rounds), ('graph', 800, 3 * s.options.rounds), ('training', 6, 10 * s.options.rounds)):
        p.ask(f'run {kind} {guess}')
        n = max(2, int(guess / p.ask(f'run {kind} {guess}')['seconds'] * s.options.segment))
        told = p.ask(f'turns {kind} {n} {rounds}')
        same = p.ask(f'turns {kind} {n} {rounds // 3} same')
        value, low, high = percent([h / b for h, b in zip(told['hooked'], told['bare'])])
        loops[kind] = dict(pct=value, interval=[low, high], bare_over_bare=percent([h / b for h, b in zip(same['hooked'], same['bare'])]), rounds=rounds, iterations=n,
                           us={k: round(statistics.median(told[w]) / n * 1e6, 3) for k, w in (('bare', 'bare'), ('berth', 'hooked'))})
        s.say(f'{kind}: {loops[kind]}')
    s.check('the program ended well', p.finish() == 0, p.words())
    return loops


def against_others(s, kinds):
    """Other preloads can't be passed by in their own process: processes of each kind side by side."""
    processes = start(s, [('bare', dict(bare=True)), ('bare', dict(bare=True))] + kinds)
    probe, chance = processes[0][1], random.Random(7)
    for kind, guess in (('smallops', 4000), ('graph', 800), ('training', 6)):
        probe.ask(f'run {kind} {guess}')
        n = max(2, int(guess / probe.ask(f'run {kind} {guess}')['seconds'] * s.options.segment))
        table = in_turn(s, processes, kind, n, s.options.rounds, chance)
        names = {who: [p.name for k, p in processes if k == who] for who, _ in processes}
        floor = percent(ratios_of(table, names['bare'][:1], names['bare'][1:]))
        for who in names:
            if who != 'bare':
                value, low, high = percent(ratios_of(table, names[who], names['bare']))
                s.peer(f'alone_overhead_pct_{kind}', who, value, interval=[low, high], bare_over_bare=floor, how='processes side by side')
    for p in [p for _, p in processes] + [s.idle]:
        p.finish()


def fits(s):
    """Two programs that fit run at the same time: under Berth as fast as without it, and nothing moves."""
    before = s.device()
    kinds = [('bare', dict(bare=True)), ('bare', dict(bare=True)), ('berth', {}), ('berth', {})]
    pairs = {}
    for kind, program in start(s, kinds, '--ballast', '12'):
        pairs.setdefault(kind, []).append(program)
    chance, ratios, work = random.Random(3), [], ('training', 'graph')
    for turn in range(s.options.rounds // 2 + 1):
        speed = {}
        for kind in chance.sample(sorted(pairs), 2):
            for p, what in zip(pairs[kind], work):
                p.tell(f'timed {what} 0.6')
            speed[kind] = [(a := p.line())['count'] / a['seconds'] for p in pairs[kind]]
        if turn:  # the first one warms up
            ratios.append(math.exp(statistics.fmean(math.log(h / b) for h, b in zip(speed['berth'], speed['bare']))))
    after = s.device()
    low, high = interval(ratios)
    moved = after['out_bytes'] - before['out_bytes'] + after['in_bytes'] - before['in_bytes']
    s.figure('colocated_over_bare', round(statistics.median(ratios), 4), interval=[round(low, 4), round(high, 4)], rounds=len(ratios), bytes_moved=moved,
             method='a training and a loop of graph replays, 12 GiB and more each, at the same time: throughput of the two under Berth over that of the same two bare '
                    '(geometric mean), segments of 0.6 s in turn; median and 95 % interval')
    s.figure('colocated_bytes_moved', moved)
    s.check('nothing moved', moved == 0, moved)
    for p in [p for both in pairs.values() for p in both] + [s.idle]:
        p.finish()
