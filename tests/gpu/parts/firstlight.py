"""The first checks on a real driver: are the functions reached, do programs answer as bare, is a limit seen, what does a launch cost."""
import json
import subprocess

from harness import GIB, bare_driver


def lookup(s):
    """Which driver functions a PyTorch program reaches through the hooks."""
    r = subprocess.run([s.berth, 'doctor', '--json', '--', s.options.python, '-c',
                        'import torch; x = torch.randn(512, 512, device="cuda"); (x @ x).sum().item()'], env=s.env, capture_output=True, text=True, timeout=80)
    s.check('doctor reports the hooks of a PyTorch program', 'cuLaunchKernel' in r.stdout and 'hooked' in r.stdout, r.stderr.strip()[-200:])


ARGUMENTS = {'soak': ('--calls', '40000'), 'vmm': ('--seconds', '2'), 'ipc': ('--seconds', '2'), 'peer': ('--seconds', '2'), 'several': ('--devices', '0')}  # what is shorter than their own idea of enough
ALONE = ('work', 'probe', 'refuse', 'hold', 'launch-bench', 'alloc-bench')  # run with arguments of their own, here or in other parts


def programs(s):
    """The C programs of tests/programs, hooked and bare, those that look the driver up in several ways by each of them."""
    folder = s.build / 'tests/programs'
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.stat().st_mode & 0o100 and (folder / f'{p.name}-linked').exists())
    for road in ('link', 'dlsym', 'proc'):
        env = {'BERTH_ROAD': road}
        code, result = s.c('work', '--memory', str(s.size(2, 96)), '--chunk', str(s.size(0.0625, 8)), '--rounds', '20', '--seed', '5', env=env).result()
        s.check(f'work is right over {road}', code == 0 and result.get('ok') is True, json.dumps(result))
        hooked, bare = (s.c('probe', env=env, bare=b).text(60).splitlines() for b in (False, True))
        differences = [f'{a} | {b}' for a, b in zip(hooked, bare) if a != b]
        s.check(f'probe answers as bare over {road}', bare and not differences and len(hooked) == len(bare), '; '.join(differences[:8]))
    if s.software:  # tests/system has the others, each with the device that it wants
        names = [name for name in names if name in ('forker', 'threads', 'soak')]
    kinds = [('kinds', '--kind', kind) for kind in ('streams', 'host', 'managed', 'arrays', 'graphs', 'edges', 'cooperative', 'contexts', 'green')]
    for name, *arguments in [(name, *ARGUMENTS.get(name, ())) for name in names if name not in ALONE and name != 'kinds'] + (kinds if 'kinds' in names else []):
        bare = None if s.software else s.c(name, *arguments, bare=True)  # the software device is too small for both, and has its own tests
        hooked = s.c(name, *arguments)
        hooked.text(100)
        code, bare_code = hooked.popen.returncode, 0
        if bare:
            bare.text(100)
            bare_code = bare.popen.returncode
        if code == 77 or (code in (2, 64) and 'usage' in hooked.words()):
            s.not_run.append(f'programs: {name}: ' + ('needs two devices that reach each other' if code == 77 else 'wants to be told what to do'))
            continue
        # Some are about the interposer's books, and say with 4 that there is none.
        good = code == 0 and bare_code in (0, 4)
        s.check(' '.join([name, *arguments]) + ' ends as it should' + (', hooked and bare' if bare else ''), good,
                '' if good else f'hooked {code}, bare {bare_code}: {hooked.words()[-300:]} {bare.words()[-300:] if bare else ""}')


def limit(s):
    """A limited program sees its limit and is held to it."""
    code = ('import torch, json\nf, t = torch.cuda.mem_get_info()\nx = []\noom = False\n'
            'try:\n    while len(x) < 100: x.append(torch.empty(1 << 30, dtype=torch.uint8, device="cuda"))\n'
            'except torch.OutOfMemoryError: oom = True\n'
            'print(json.dumps(dict(free=f, total=t, seen=torch.cuda.get_device_properties(0).total_memory, got=len(x), oom=oom)))')
    total = s.device()['total_bytes']
    _, result = s.launch(s.options.python, '-c', code, name='limited', options=('--memory', '40%')).result()
    want = total * 0.4
    s.check('torch sees 40 % of the card', abs(result['total'] - want) < 0.01 * total and abs(result['seen'] - want) < 0.01 * total, json.dumps(result))
    s.check('an allocation above the limit is plain out-of-memory', result['oom'] and want - 3 * GIB < result['got'] * GIB <= want)


def inside(s):
    """What a limited program sees of itself, beside a program that Berth does not know: NVML, nvidia-smi and the driver agree; a soft limit empties PyTorch's cache."""
    stranger = s.hold(bare=True)
    stranger.ask(f'reserve {GIB}')
    s.check('nvidia-smi outside lists the stranger', str(stranger.pid) in s.smi('--query-compute-apps=pid', '--format=csv,noheader').split(), s.smi()[-600:])
    for name, arguments, options in (('smi', ('300',), ('--memory', '40%')), ('soft', (), ('--soft-memory', '8GiB'))):
        program = s.python(f'{name}.py', *arguments, options=options, env={'BERTH': s.berth})
        code, result = program.result(80)
        s.check(f'{name} is right', code == 0, json.dumps(result)[:900] + ('' if code == 0 else ' ' + program.words()))
        if name == 'smi':
            shown = [pid for pid, _ in result.get('table') or []]
            s.check('nvidia-smi inside lists own processes only', shown and stranger.pid not in shown, json.dumps([result.get('table'), result.get('apps')]))
    stranger.finish()


def launch(s):
    """The cost of a gated launch beside the bare call of the same driver, alternating in one process."""
    more = ('--bursts', '20') if s.software else ()
    code, result = s.c('launch-bench', '--pairs', *more, env={'BERTH_BARE': bare_driver(s)}).result()
    if s.check('launch-bench runs', code == 0, json.dumps(result)):
        s.figure('gated_launch_h200_ns', result.get('hooked'), unit='ns', better='lower', limit=result.get('bare'), added_ns=result.get('added'))
