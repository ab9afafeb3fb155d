"""More models than memory: three model servers, of which the device holds two, behind `berth up`. What a switch costs, what stopping and starting them costs, and what grouping
gains over first come, first served."""
import json
import pathlib
import random
import shlex
import socket
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent
NAMES = ('red', 'green', 'blue')
QUESTION = 'The same question each time.'


def ask(url, token, model, tokens=16, timeout=300):
    """Streams an answer: text, seconds until its first word, when that was."""
    body = {'model': model, 'stream': True, 'max_tokens': tokens, 'messages': [{'role': 'user', 'content': QUESTION}]}
    request = urllib.request.Request(url + '/v1/chat/completions', json.dumps(body).encode(), {'Authorization': f'Bearer {token}', 'Content-Type': 'application/json'})
    begin, first, text, whole = time.monotonic(), None, '', False
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        for line in answer:
            if line.startswith(b'data: [DONE]'):
                whole = True
            elif line.startswith(b'data: {'):
                event = json.loads(line[6:])
                if 'error' in event:
                    raise RuntimeError(f'{model}: {event["error"]}')
                part = (event['choices'] or [{}])[0].get('delta', {}).get('content') or ''
                if part and first is None:
                    first = time.monotonic()
                text += part
    if first is None or not whole:
        raise RuntimeError(f'{model}: the answer broke off: {text!r}')
    return text, first - begin, first


def command(s, port, name, seed, gib):
    device = 'none' if s.software else 'cuda'
    return [s.options.python if not s.software else sys.executable, str(HERE / 'apps/model_server.py'), '--name', name, '--port', port, '--gib', str(gib), '--device', device, '--seed', str(seed)]


class Pool:
    """`berth up` on a folder with a catalogue of the three."""

    def __init__(self, s, gib):
        folder = s.dir / 'up'
        folder.mkdir()
        sections = ['[model {0}]\nkind = command\ncommand = {1}\nmemory = {2}\nidle = 0\nparallel = 1\ntasks = chat\n'.format(
            name, shlex.join(command(s, '{port}', name, i + 1, gib)), f'{int(gib * 1024) or 1}MiB') for i, name in enumerate(NAMES)]
        if s.env.get('LD_LIBRARY_PATH'):  # as for the suite's other programs: the pool's own libraries are not for PyTorch
            sections = [section + f'environment = LD_LIBRARY_PATH={s.env["LD_LIBRARY_PATH"]}\n' for section in sections]
        (folder / 'models.conf').write_text('\n'.join(sections))
        (folder / 'models.conf').chmod(0o600)
        self.program = s.launch(s.berth, 'up', '--no-node', '--folder', str(folder), '--listen', '127.0.0.1:0', bare=True, name='up')
        self.program.popen.stdin.close()
        end = time.monotonic() + 60
        while not (folder / 'local.json').exists():
            if not self.program.running or time.monotonic() > end:
                raise RuntimeError('berth up did not start: ' + self.program.words())
            time.sleep(0.05)
        told = json.loads((folder / 'local.json').read_text())
        self.url, self.token, self.folder = told['url'], told['token'], folder
        while self.listed() != sorted(NAMES):
            if time.monotonic() > end:
                raise RuntimeError(f'the pool lists {self.listed()}: {self.program.words()}')
            time.sleep(0.05)

    def listed(self):
        request = urllib.request.Request(self.url + '/v1/models', headers={'Authorization': f'Bearer {self.token}'})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return sorted(m['id'] for m in json.load(answer)['data'])
        except (urllib.error.URLError, ConnectionError):
            return []

    def ask(self, model, **more):
        return ask(self.url, self.token, model, **more)

    def end(self):
        self.program.popen.terminate()
        self.program.popen.wait(90)


def arrivals(count, rate):
    """(second, model) of so many requests that come by chance: the same in each run."""
    r, at, found = random.Random(5), 0.0, []
    for _ in range(count):
        at += r.expovariate(rate)
        found.append((at, r.choice(NAMES)))
    return found


def at_once(pool, plan):
    """All requests as they come, the pool orders them: seconds from arrival to first word."""
    waits, failed, begin = [None] * len(plan), [], time.monotonic()

    def one(i, model):
        try:
            waits[i] = pool.ask(model)[2] - begin - plan[i][0]
        except Exception as error:  # told below
            failed.append(f'{i}: {error}')

    threads = []
    for i, (at, model) in enumerate(plan):
        time.sleep(max(0, begin + at - time.monotonic()))
        threads.append(threading.Thread(target=one, args=(i, model), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(400)
    return waits, failed


def in_turn(pool, plan):
    """First come, first served: the next is sent when the one before has ended."""
    waits, begin = [], time.monotonic()
    for at, model in plan:
        time.sleep(max(0, begin + at - time.monotonic()))
        waits.append(pool.ask(model)[2] - begin - at)
    return waits


def p95(values):
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def switch(s, pool):
    right, first = {}, {}
    for name in NAMES:
        right[name], first[name], _ = pool.ask(name)
    s.say('first answers, the engines started:', ', '.join(f'{name} {first[name]:.2f} s' for name in NAMES))
    before, switched, same = s.device()['in_bytes'], [], True
    for _ in range(4 if not s.software else 2):
        for name in NAMES:
            text, seconds, _ = pool.ask(name, timeout=60)
            same &= text == right[name]
            switched.append(round(seconds, 3))
    moved = s.device()['in_bytes'] - before
    text, resident, _ = pool.ask(NAMES[-1])
    s.check('each model answers as at first, after every switch', same and text == right[NAMES[-1]])
    if not s.software:
        s.check('models came in anew', moved > 6 * s.options.model_gib * 2**30, f'{moved / 2**30:.0f} GiB')
    s.figure('model_switch_ttft_s', round(statistics.median(switched), 3), all=switched, resident_s=round(resident, 4), moved_in_gib=round(moved / 2**30, 1),
             method=f'three servers of {s.options.model_gib:g} GiB behind berth up, asked in turn, so that each is swapped out when its turn comes; from the request to the first word; median of {len(switched)}')


def poisson(s, pool):
    count, rate = (s.options.requests, s.options.rate) if not s.software else (30, 60)
    plan = arrivals(count, rate)
    ours, failed = at_once(pool, plan)
    if not s.check('all requests were answered', not failed and None not in ours, failed[:3]):
        return
    served = in_turn(pool, plan)
    told = dict(requests=count, rate=rate, ours=dict(mean=statistics.mean(ours), p95=p95(ours), longest=max(ours)), fcfs=dict(mean=statistics.mean(served), p95=p95(served), longest=max(served)))
    method = f'{count} requests by chance, {rate:g} a second, over three models of which two fit; 16 tokens each; against the same requests one after another in the order they came'
    s.figure('poisson_mean_over_fcfs', round(statistics.mean(ours) / statistics.mean(served), 3), method=method, **told)
    s.figure('poisson_p95_over_fcfs', round(p95(ours) / p95(served), 3), method=method, **told)


def restart(s):
    """Without Berth: the server that is there is stopped, the next one started, and asked once it is healthy."""
    gib, found, running = s.options.model_gib if not s.software else 0.01, [], None
    for i in range(4 if not s.software else 2):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        begin = time.monotonic()
        if running:
            running.popen.terminate()
            running.popen.wait(60)
        running = s.launch(*command(s, str(port), 'm', i + 1, gib), bare=True, name='restart', env={'BERTH_ENGINE_KEY': ''})
        while True:
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=10).close()
                break
            except (urllib.error.URLError, ConnectionError):
                if not running.running or time.monotonic() - begin > 200:
                    raise RuntimeError('the server did not start: ' + running.words()) from None
                time.sleep(0.02)
        found.append(round(ask(f'http://127.0.0.1:{port}', '', 'm')[2] - begin, 3))
    running.end()
    s.figure('restart_ttft_s', round(statistics.median(found[1:]), 3), all=found,
             method=f'a server of {gib:g} GiB stopped, another started, asked when healthy; weights are made on the device, where real ones would be read; median after the first')


def models(s):
    """Three model servers on a device with room for two: a switch, 300 requests by chance."""
    gib = s.options.model_gib if not s.software else 0.01
    pool = Pool(s, gib)
    try:
        switch(s, pool)
        poisson(s, pool)
    finally:
        pool.end()
        for path in sorted((pool.folder / 'worker/engines').glob('*.log')) if s.part and (pool.folder / 'worker/engines').is_dir() else []:
            words = path.read_text(errors='replace').strip()
            if 'Error' in words:
                s.say(f'{path.name}: …{words[-400:]}')
