"""Moving memory: out, in, both at once, by size, clean memory, a neighbour's memory. Rates are bytes over the time from the decision to the end, as an
onlooker saw both (sampler.py); GB = 10^9 bytes."""
import statistics
import time

from harness import GIB, MIB
from trace import rate


SCRUBBED = 1.0  # seconds: memory that another process freed is scrubbed with the copy engines at once, 96 GiB in 0.2 s; a copy in beside that gets 35 GB/s


def out_and_in(s, holder, taker, before='write'):
    """The holder is sent out whole by a taker that wants the device, and comes back when it is free again. (move out, move in, answers)"""
    if before:
        holder.ask(before)
    want = s.whole_device(taker)
    with s.sampling() as trace:
        taken = taker.ask(f'reserve {want}')
        taker.ask('free')
        pause(s)
        back = holder.ask('check')
    out, into = trace.out(holder.pid), trace.back(holder.pid)
    if len(out) != 1 or len(into) != 1:
        raise RuntimeError(f'one move out and one in were to happen, not {out} and {into}')
    return out[0], into[0], dict(taken_s=taken['end'] - taken['begin'], back_s=back['end'] - back['begin'], stored=trace.most(holder.pid, 1))


def pause(s):
    time.sleep(SCRUBBED if not s.software else 0)


def measure(s, holder, taker, rounds):
    """(moves out, moves in) of so many rounds; all of the memory was written before each."""
    outs, ins = [], []
    for i in range(rounds):
        out, into, answers = out_and_in(s, holder, taker)
        s.say(f'round {i}: out {rate(out):.1f} GB/s in {out["end"] - out["begin"]:.3f} s, in {rate(into):.1f} GB/s in {into["end"] - into["begin"]:.3f} s, '
              f'{out["bytes"] / GIB:.2f} GiB; copied {out["moved"] / GIB:.2f} and {into["moved"] / GIB:.2f} GiB; taker waited {answers["taken_s"]:.2f} s'
              + (f'; {answers["stored"] / GIB:.2f} GiB on the neighbour' if answers['stored'] else ''))
        outs.append(out)
        ins.append(into)
    return outs, ins


def spread(moves):
    return [round(rate(m), 2) for m in moves]


def swap(s):
    """60 GiB of a real PyTorch process leave for another that needs the card, and come back; all of it written anew before each time."""
    size = s.size(60, 96)
    holder, taker = s.hold(real=True), s.hold()
    holder.ask(f'alloc {size} {s.size(1, 16)}')
    s.say(f'places on the host after {s.wait_backed(holder):.1f} s')
    outs, ins = measure(s, holder, taker, 4)
    program = 'a PyTorch process' if not s.software else 'a C program'
    method = f'{size / 2**30:.3g} GiB of {program}, all written anew before each time; median of rounds 2 to 4; bytes over the time from the decision to ' \
             'everything gone, or resident and let go, as an onlooker saw it every 2 ms'
    s.check('all of it moved', all(m['bytes'] >= 0.9 * size for m in outs + ins), [m['bytes'] for m in outs + ins])
    s.figure('swap_out_gbps', round(statistics.median(spread(outs[1:])), 2), rounds=spread(outs), bytes=outs[-1]['bytes'], method=method)
    s.figure('swap_in_gbps', round(statistics.median(spread(ins[1:])), 2), rounds=spread(ins), bytes=ins[-1]['bytes'], method=method)
    late = statistics.median(m['end'] - m['begin'] for m in outs[1:])
    s.figure('first_swap_stall', round((outs[0]['end'] - outs[0]['begin']) / late, 3), first_s=round(outs[0]['end'] - outs[0]['begin'], 3), later_s=round(late, 3),
             method='time of the first way out, right after the program had its places on the host, over that of later ones')
    s.check('the program ended well', holder.finish() == 0, holder.words())
    taker.finish()


def exchange(s):
    """Two programs take turns on a device that holds only one of them: while one goes out the other comes in."""
    size = s.size(48, 150)
    total = s.device()['total_bytes']
    spare = s.size(2.5, 30)
    s.configure(memory__reserve_percent=max(0, int(100 * (1 - (size + spare) / total))), slice__mode='fixed', slice__fixed='2s' if not s.software else '400ms',
                slice__min='1s' if not s.software else '200ms')
    seconds = s.options.exchange_seconds if not s.software else 4
    with s.sampling() as trace:
        pair = [s.c('work', '--memory', str(size), '--chunk', str(s.size(1, 16)), '--seconds', str(seconds), '--seed', str(i), options=('--need', str(size)))
                for i in (1, 2)]
        answers = [p.result() for p in pair]
    if not s.check('the data of both are right', all(code == 0 and a.get('ok') for code, a in answers), answers):
        return
    found = trace.exchanges(pair[0].pid, pair[1].pid)
    after = s.device()
    s.say(f'{len(found)} exchanges:', ', '.join(f'{x["gbps"]:.1f}' for x in found), 'GB/s')
    if not s.check('they changed places more than twice', len(found) > 2, len(found)):
        return
    settled = found[2:]  # before, places on the host are still made and pinned
    value = statistics.median(x['gbps'] for x in settled)
    best = min(settled, key=lambda x: abs(x['gbps'] - value))
    s.figure('exchange_gbps', round(value, 2), rounds=[round(x['gbps'], 2) for x in found], bytes_out=best['out'], bytes_in=best['into'], seconds=round(best['seconds'], 3),
             handed_over_gib=round(after.get('handed_bytes', 0) / GIB, 1), switches=after['switches'],
             course=trace.course([best['leaver'], best['comer']], best['begin'] - 0.05, best['end'] + 0.05),
             method=f'two C programs of {size / 2**30:.3g} GiB each, all of it written in every turn, on a device with room for one; bytes moved both ways over the '
                    'time from the decision against the one to the go for the other; median after the first two')


def wake(s):
    """An idle inference server whose weights nobody wrote since they were last on the host: out without a copy, back at the first request."""
    gib = s.options.wake_gib if not s.software else 96 / 1024
    if s.software:
        s.configure(client__unit='8MiB')  # what is smaller is not looked at for changes
    server = s.python('apps/infer.py', str(gib)) if not s.software else s.c('serve', '--memory', '96MiB', '--chunk', '16MiB', '--state', '2MiB')
    taker = s.hold()
    server.line()
    s.wait_backed(server)
    drops, wakes, rows = [], [], []
    for i in range(5):
        for _ in range(0 if i == 2 else 20):  # round 2: nothing but the waking request since it came in
            server.ask('request')
        s.wait(lambda st: s.client(server, st)['state'] == 'running', 'it runs')
        idle(s, server, 2.5 if not s.software else 1.0)
        want, before = s.whole_device(taker), s.device()
        with s.sampling() as trace:
            taker.ask(f'reserve {want}')
            taker.ask('free')
            if i < 4:  # the last time at once, while the driver still scrubs what was freed
                pause(s)
            begin = time.monotonic()
            server.ask('request')
            wakes.append(time.monotonic() - begin)
        out, into = trace.out(server.pid)[0], trace.back(server.pid)[0]
        drops.append(out['end'] - out['begin'])
        dropped = s.device().get('dropped_bytes', 0) - before.get('dropped_bytes', 0)
        rows.append(dict(round=i, out_s=round(drops[-1], 4), left_gib=round(out['bytes'] / GIB, 2), copied_out_gib=round(out['moved'] / GIB, 2),
                         dropped_gib=round(dropped / GIB, 2), wake_s=round(wakes[-1], 4), copied_in_gib=round(into['moved'] / GIB, 2), in_gbps=round(rate(into), 2), in_s=round(into['end'] - into['begin'], 4)))
        s.say(rows[-1])
    s.check('all of it left each time', all(r['left_gib'] >= 0.9 * gib for r in rows), [r['left_gib'] for r in rows])
    s.figure('drop_clean_60gib_s', round(statistics.median(drops[1:]), 4), rounds=rows, gib=gib,
             method=f'an inference process of {gib:g} GiB of weights (PyTorch), 20 requests since it last came in (round 2: one), then idle; from the decision to all of it '
                    'off the device; median of all but the first time')
    s.figure('wake_60gib_s', round(statistics.median(wakes[1:4]), 4), rounds=rows, gib=gib, at_once_s=round(wakes[4], 4),
             method='the same process, out, and the device free again for a second: from asking to the answer, all weights back on the device and used; at_once_s: right '
                    'after another process freed the whole device, whose memory the driver scrubs meanwhile')
    s.check('every answer was right', server.finish() == 0, server.words())


def idle(s, program, seconds):
    """Until the program has issued nothing for so long: what Berth does with an idle program it has done."""
    seen, still = None, 0
    while still < seconds:
        c = s.client(program)
        now = (c['launches'], c['copies'])
        still = still + 0.25 if now == seen else 0
        seen = now
        time.sleep(0.25)


def sizes(s):
    """The same by size: what a small swap costs beside a large one. Here the time is that of the move itself, by Berth's own counters."""
    holder, taker = s.hold(), s.hold()
    rows = []
    for mib in (1, 4, 16, 64, 256, 1024, 4096, 16384, 61440) if not s.software else (1, 4, 16, 64):
        size = mib * MIB
        holder.ask(f'alloc {size} {min(size, GIB)}')
        s.wait_backed(holder)
        best = {}
        for _ in range(2 if mib <= 4096 else 1):
            holder.ask('write')
            before = s.client(holder)
            taker.ask(f'reserve {s.whole_device(taker, spare=0)}')
            taker.ask('free')
            pause(s)
            holder.ask('check')
            after = s.client(holder)
            for way in ('out', 'in'):
                moved, ns = after[f'{way}_bytes'] - before[f'{way}_bytes'], after[f'{way}_ns'] - before[f'{way}_ns']
                if moved and ns:
                    best[way] = max(best.get(way, 0), moved / ns)
                    best['moved'] = moved
        rows.append(dict(bytes=size, moved=best.get('moved'), out_gbps=round(best['out'], 2) if 'out' in best else None, in_gbps=round(best['in'], 2) if 'in' in best else None))
        s.say(rows[-1])
        holder.ask('free')
    whole = [r['out_gbps'] for r in rows if r['out_gbps']]
    s.check('every size moved both ways', all(r['out_gbps'] and r['in_gbps'] for r in rows), rows)
    s.figure('swap_by_size', max(whole) if whole else None, rows=rows,
             method='a C program that holds so much; best of two (one above 4 GiB); bytes over the time of the move by Berth\'s counters; the value is the best way out')
    s.check('the data were right each time', holder.finish() == 0, holder.words())


def neighbour(s):
    """Two devices: the memory goes to the other one's free memory over NVLink, not to the host. With units of the usual size, and with larger ones."""
    found = {}
    for unit in ('', '256MiB') if not s.software else ('',):
        s.configure(slice__min='20s', **({'client__unit': unit} if unit else {}))  # the taker sits on what it took until it is told
        holder, taker = s.hold(real=True), s.hold()
        holder.ask(f'alloc {s.size(60, 96)} {s.size(1, 16)}')
        s.wait_backed(holder)
        outs, ins = measure(s, holder, taker, 5)
        both = [(o['bytes'] + i['bytes']) / (o['end'] - o['begin'] + i['end'] - i['begin']) / 1e9 for o, i in zip(outs[1:], ins[1:])]
        found[unit] = dict(gbps=round(statistics.median(both), 2), out=spread(outs), into=spread(ins))
        s.say(f'units of {unit or "the usual size"}: {found[unit]}')
        s.check('the program ended well', holder.finish() == 0, holder.words())
        taker.finish()
        s.wait_gone(holder, taker)
    s.figure('neighbour_gbps', found['']['gbps'], out=found['']['out'], into=found['']['into'], larger_units={unit: told for unit, told in found.items() if unit},
             method='60 GiB of a PyTorch process, out to the other device\'s free memory and back, all written before each time; bytes both ways over both times, decision to '
                    'end; median of rounds 2 to 5; the first one makes its places there. larger_units: the same with a larger client.unit')
