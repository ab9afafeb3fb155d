"""A program is killed in the middle of an exchange, on the way out or on the way in: the other one's data are right, and no memory is lost."""
import os
import signal
import time


def faults(s):
    """SIGKILL of either side in the middle of an exchange."""
    size, cases, right = s.size(20, 150), ('going-out', 'coming-in'), 0
    total = s.device()['total_bytes']
    s.configure(memory__reserve_percent=max(0, min(90, int(100 * (1 - (size + s.size(2.5, 30)) / total)))), slice__mode='fixed', slice__fixed='700ms', slice__min='500ms')
    idle_use = s.device()['used_bytes']
    for state in cases:
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
            for p in pair:
                p.end()
            continue
        os.kill(victim.pid, signal.SIGKILL)
        survivor = pair[1 - pair.index(victim)]
        victim.result()
        code, result = survivor.result()
        s.wait(lambda st: not st['clients'], 'the daemon knows nobody', 30)
        status = s.status()
        good = s.check(f'killed while {state}: the other is right', code == 0 and result.get('ok') is True and result.get('wrong_words') == 0, result)
        good &= s.check(f'killed while {state}: no grant is left', status['devices'][0]['granted_bytes'] == 0, status['devices'][0]['granted_bytes'])
        s.wait(lambda st: st['daemon']['arena_lent_bytes'] == 0, 'the host memory is back', 30)
        if idle_use is not None:  # the sensor looks once a second
            s.wait(lambda st: st['devices'][0]['used_bytes'] <= idle_use + s.size(0.25, 8), 'the device memory is free again', 30)
        right += good
    s.figure('faults_right', right, of=len(cases), cases=[f'SIGKILL while {c}' for c in cases])
