"""Every kind of program: bare, and under Berth with a forced swap in its middle, the same digest."""
import json
import time

from harness import HERE

AT_ONCE = 11  # programs of PyTorch, bare and hooked, twice that: host memory and processors are for all of them


def names(two=False):
    """The programs of tests/gpu/kinds; those for two devices say so in their first line."""
    found = {path.stem: path.read_text() for path in sorted((HERE / 'kinds').glob('*.py')) if not path.stem.startswith('_')}
    return [name for name, text in found.items() if ('two devices' in text.split('\n', 1)[0]) == two]


def without_torch(name):
    return 'import torch' not in (HERE / 'kinds' / f'{name}.py').read_text()


def kinds(s):
    """Every kind of PyTorch program: bare, and under Berth across a forced swap, the same digest."""
    wanted, rows = s.options.kinds.split(',') if s.options.kinds else names(), []
    if s.software:
        wanted = [name for name in wanted if without_torch(name)]
    for first in range(0, len(wanted), AT_ONCE):
        rows += run(s, wanted[first:first + AT_ONCE])
        s.figure('kinds_right', sum(r['right'] for r in rows), of=len(wanted), rows=rows,
                 method='each program bare, and under Berth with another program taking the whole device in its middle; right: the same digest of its results')
        s.figure('kinds_moved', sum(r['moved_out'] > 0 for r in rows), of=len(wanted))


def pair(s):
    """The kinds that need two devices."""
    code, result = s.c('peer', '--seconds', '3').result(60)
    s.check("kernels of one device work on the other's memory, before and after it moved", code == 0, json.dumps(result))
    run(s, names(two=True))


def run(s, wanted):
    """All of them at once: first what each prints bare, then hooked up to its middle, where another program takes the whole device; then on to the end."""
    bare = {name: s.python(f'kinds/{name}.py', bare=True) for name in wanted}
    hooked = {name: s.python(f'kinds/{name}.py', '--pause') for name in wanted}
    expected, waiting, rows = {}, {}, {name: dict(kind=name, right=False, moved_out=0, kept=0) for name in wanted}
    for name, program in bare.items():
        try:
            code, result = program.result(120)
        except RuntimeError as error:
            code, result = str(error), {}
            program.end()
        expected[name] = result.get('digest') if code == 0 else None
        s.check(f'{name} runs bare', bool(expected[name]), '' if code == 0 else f'{code} {program.words()}')
    for name, program in hooked.items():
        try:
            program.line(60)
            waiting[name] = program
        except RuntimeError as error:
            s.check(f'{name} comes to its middle under Berth', False, error)
            rows[name]['why'] = str(error)[-300:]
            program.end()
    time.sleep(2.5)  # a look of the sensor, which then knows that the bare ones are gone
    took = take_all(s)
    status = s.status()
    for name, program in waiting.items():
        clients = s.clients_of(program, status)
        rows[name].update(moved_out=sum(c['out_bytes'] for c in clients), kept=sum(c['pinned_bytes'] for c in clients), stayed=sum(c['resident_bytes'] for c in clients))
    if took:
        took.finish()
    for program in waiting.values():
        program.tell('on')
    for name, program in waiting.items():
        try:
            code, result = program.result(90)
        except RuntimeError as error:
            code, result = str(error), {}
            program.end()
        good = code == 0 and expected[name] and result.get('digest') == expected[name]
        rows[name]['right'] = bool(good)
        s.check(f'{name} is right across the swap', good, json.dumps(rows[name]) + ('' if good else f' {code} {json.dumps(result)[-700:]} {program.words()}'))
    return list(rows.values())


def take_all(s):
    """A program that has taken what all others can leave; None when it could not within a minute."""
    taker = s.hold()
    want = s.whole_device(taker)
    taker.tell(f'reserve {want}')
    try:
        taker.line(60)
        return taker
    except RuntimeError:
        status = s.status()
        s.check('the device could be taken', False, json.dumps([{k: c[k] for k in ('pid', 'name', 'state', 'reason', 'pinned_bytes', 'resident_bytes', 'granted_bytes')}
                                                                 for c in status['clients']]))
        taker.end()
        return None
