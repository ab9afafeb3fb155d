"""Faults: who survives has the right data, and nothing of anybody's memory is lost."""
import os
import signal
import time


def faults(s):
    """SIGKILL of either side in mid-exchange, a copy that fails, an arena that is full, a daemon that is replaced while a program is out."""
    cases = {}
    for name, case in (('SIGKILL while going-out', lambda: killed(s, 'going-out')), ('SIGKILL while coming-in', lambda: killed(s, 'coming-in')),
                       ('the copies out fail', lambda: copies_fail(s)), ('the arena is full', lambda: arena_full(s)),
                       ('the daemon is replaced while one is out', lambda: replaced(s))):
        try:
            cases[name] = bool(case())
        except RuntimeError as error:
            cases[name] = s.check(name, False, str(error)[-900:])
        for program in s.programs:
            program.end()
    s.figure('faults_right', sum(cases.values()), of=len(cases), cases=cases,
             method='each on programs that check all of their memory: who survives is right, and no grant, host memory or device memory is lost')


def nothing_left(s, name, idle_use):
    """No grant, no host memory, no device memory of programs that have ended."""
    s.wait(lambda st: not st['clients'], 'the daemon knows nobody', 30)
    granted = s.device()['granted_bytes']
    good = s.check(f'{name}: no grant is left', granted == 0, granted)
    s.wait(lambda st: st['daemon']['arena_lent_bytes'] == 0, 'the host memory is back', 30)
    if idle_use is not None:  # the sensor looks once a second
        s.wait(lambda st: st['devices'][0]['used_bytes'] <= idle_use + s.size(0.25, 8), 'the device memory is free again', 30)
    return good


def killed(s, state):
    size = s.size(20, 150)
    total = s.device()['total_bytes']
    s.configure(memory__reserve_percent=max(0, min(90, int(100 * (1 - (size + s.size(2.5, 30)) / total)))), slice__mode='fixed', slice__fixed='700ms', slice__min='500ms')
    idle_use = s.device()['used_bytes']
    pair = [s.c('work', '--memory', str(size), '--chunk', str(s.size(0.5, 16)), '--seconds', '6' if not s.software else '4', '--seed', str(i)) for i in (1, 2)]
    victim = None
    end = time.monotonic() + 40

    def moving(st):
        for p in pair:
            c = s.client(p, st)
            if c and c['state'] == state and c['movable_bytes'] >= 0.9 * size:
                return p
        return None

    while not victim and time.monotonic() < end and all(p.running for p in pair):
        victim = moving(s.status())
    if not s.check(f'one was seen {state}', victim is not None):
        return False
    os.kill(victim.pid, signal.SIGKILL)
    survivor = pair[1 - pair.index(victim)]
    victim.result()
    code, result = survivor.result()
    good = s.check(f'killed while {state}: the other is right', code == 0 and result.get('ok') is True and result.get('wrong_words') == 0, result)
    return nothing_left(s, f'killed while {state}', idle_use) and good


def pair_of(s, options=None):
    """One that holds memory whose contents it knows, and one that is to take the device from it."""
    s.given = dict(s.settings, **dict(x.split('=', 1) for x in s.options.set), **(options or {}))
    s.apply()
    idle_use = s.device()['used_bytes']
    holder, taker = s.hold(), s.hold()
    holder.ask(f'alloc {s.size(20, 120)} {s.size(1, 16)}')
    holder.ask('write')
    return holder, taker, idle_use


def copies_fail(s):
    """A kernel writes where nothing is: every call in that context fails from then on, the copies out, too. Its memory goes when it ends, and then is the other's."""
    holder, taker, idle_use = pair_of(s)
    s.wait_backed(holder)
    holder.ask('break')
    want = s.whole_device(taker)
    taker.tell(f'reserve {want}')
    s.wait(lambda st: 'could not be moved' in holder.words(), 'it was told that its memory could not be moved', 60)
    held = s.client(holder)
    good = s.check('copies fail: nothing of it was given up', held and held['resident_bytes'] >= s.size(20, 120), held)
    holder.finish()
    taker.line(60)
    good &= s.check('copies fail: the other has its memory when that program has ended', taker.ask('write')['ok'] and taker.ask('check')['ok'])
    good &= s.check('copies fail: the other ended well', taker.finish() == 0, taker.words())
    return nothing_left(s, 'copies fail', idle_use) and good


def arena_full(s):
    """What can't leave stays, whole and right; who wanted its place is told why."""
    holder, taker, idle_use = pair_of(s, {'arena.size': '8GiB' if not s.software else '32MiB', 'arena.ready': '1GiB' if not s.software else '16MiB'})
    taker.tell(f'reserve {s.whole_device(taker)}')
    s.wait(lambda st: (c := s.client(taker, st)) and c.get('reason') == 'arena', 'the other is told why it waits', 60)
    good = s.check('arena full: all of it is there and right', holder.ask('check')['ok'] and holder.ask('write')['ok'] and holder.ask('check')['ok'])
    holder.ask('free')
    taker.line(60)
    good &= s.check('arena full: the other has its memory when that was freed', taker.ask('write')['ok'] and taker.ask('check')['ok'] and taker.finish() == 0, taker.words())
    good &= s.check('arena full: it ended well', holder.finish() == 0, holder.words())
    return nothing_left(s, 'arena full', idle_use) and good


def replaced(s):
    """SIGTERM and a new daemon, as a new version is put in place, then SIGKILL and a new one, while all of a program lies on the host."""
    holder, taker, idle_use = pair_of(s)
    s.wait_backed(holder)
    taker.ask(f'reserve {s.whole_device(taker)}')
    s.wait(lambda st: (c := s.client(holder, st)) and c['state'] == 'waiting' and c['resident_bytes'] <= s.size(0.25, 8), 'it is out')
    for kill in (False, True):
        if kill:
            s.daemon.kill()
            s.daemon.wait()
        else:
            s.stop_daemon()
        s.start_daemon()
        s.wait(lambda st: s.client(holder, st) and s.client(taker, st), 'both are known again')
    out = s.client(holder)
    good = s.check('daemon replaced: it is still out', out['resident_bytes'] <= s.size(0.25, 8), out)
    taker.ask('free')
    good &= s.check('daemon replaced: its data are right', holder.ask('check')['ok'])
    good &= s.check('daemon replaced: both ended well', holder.finish() == 0 and taker.finish() == 0, holder.words() + taker.words())
    return nothing_left(s, 'daemon replaced', idle_use) and good


def reclaimed(s):
    """Two devices: what lies on the neighbour has to leave it for a program there, and goes on to the host."""
    holder, taker, other = s.hold(), s.hold(), s.hold(env={'CU_DEVICE': '1'})
    size = s.size(20, 120)
    holder.ask(f'alloc {size} {s.size(1, 16)}')
    holder.ask('write')
    s.wait_backed(holder)
    taker.ask(f'reserve {s.whole_device(taker)}')

    def stored(st):
        c = s.client(holder, st, 1)
        return c['resident_bytes'] if c else 0

    s.wait(lambda st: stored(st) >= 0.9 * size, 'it lies on the neighbour')
    before = s.device(1)
    room = before['room_bytes'] - before['granted_bytes'] + stored(s.status())
    begin = time.monotonic()
    other.ask(f'reserve {(room - s.size(2, 24)) // (2 << 20) * (2 << 20)}')
    taken, after = time.monotonic() - begin, s.device(1)
    good = s.check('neighbour taken back: it went on to the host', after['out_bytes'] - before['out_bytes'] >= 0.8 * size, after['out_bytes'] - before['out_bytes'])
    good &= s.check('neighbour taken back: the other one works with its memory', other.ask('write')['ok'] and other.ask('check')['ok'])
    taker.ask('free')
    good &= s.check('neighbour taken back: the data are right', holder.ask('check')['ok'])
    good &= s.check('neighbour taken back: all ended well', all(p.finish() == 0 for p in (holder, taker, other)))
    s.figure('neighbour_reclaimed', int(good), seconds=round(taken, 3), bytes=after['out_bytes'] - before['out_bytes'],
             method='20 GiB that lie on the neighbour leave it for a program there, by way of the host\'s memory, and come back right; seconds: until that program had its memory')
