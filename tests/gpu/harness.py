"""What every part of the hardware suite stands on: a daemon, programs that do what they are told, figures that are written as they come.

A part is a function of the suite, entered in parts.PARTS with the seconds it may take. Whatever a part does, the next one finds a daemon that answers, the
settings it began with and none of the last part's programs. Parts wait for what the daemon tells and for what programs say, never for time, except where time is
what is measured.
"""
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import figures
import trace

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MIB, GIB = 2**20, 2**30
SETTINGS = {'memory.reserve_percent': '10', 'arena.threads': '16'}
SOFTWARE = {'device.kind': 'software', 'device.software_memory': '256MiB', 'device.software_link': '1GiB', 'arena.size': '1GiB', 'arena.ready': '64MiB',
            'arena.threads': '2'}


class PartTimeout(Exception):
    """A part took longer than it may."""


class Program:
    """A process with its last words kept: standard output is read line by line here, standard error goes to a file."""

    def __init__(self, name, argv, log, **options):
        self.name, self.log, self.lines, self.rest = name, log, [], b''
        with open(log, 'ab') as err:
            self.popen = subprocess.Popen([str(x) for x in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, bufsize=0, start_new_session=True,
                                          **options)
        self.pid = self.popen.pid

    @property
    def running(self):
        return self.popen.poll() is None

    def _read(self, seconds):
        """One more line of text, or None at the end."""
        end = time.monotonic() + seconds
        while b'\n' not in self.rest:
            if not select.select([self.popen.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise RuntimeError(f'{self.name} said nothing for {seconds} s: {self.words()}')
            data = self.popen.stdout.read(65536)
            if not data:
                text, self.rest = self.rest.decode(errors='replace'), b''
                return text or None
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        return line.decode(errors='replace')

    def line(self, seconds=300):
        """The next line of JSON that it says."""
        while (text := self._read(seconds)) is not None:
            if text.startswith('{'):
                self.lines.append(json.loads(text))
                return self.lines[-1]
        raise RuntimeError(f'{self.name} ended with {self.popen.wait(30)}: {self.words()}')

    def tell(self, command):
        try:
            self.popen.stdin.write(command.encode() + b'\n')
        except BrokenPipeError:
            raise RuntimeError(f'{self.name} ended with {self.popen.wait(30)}: {self.words()}') from None

    def ask(self, command, seconds=300):
        self.tell(command)
        answer = self.line(seconds)
        if answer.get('ok') is False:
            raise RuntimeError(f'{self.name}: {command}: {answer}')
        return answer

    def text(self, seconds=300):
        """All it still says, until it ends; its input ends here."""
        with contextlib.suppress(OSError):
            self.popen.stdin.close()
        lines = []
        while (text := self._read(seconds)) is not None:
            lines.append(text)
        self.popen.wait(60)
        return '\n'.join(lines)

    def result(self, seconds=300):
        """Its exit code and its last line of JSON, or {}."""
        self.lines += [json.loads(x) for x in self.text(seconds).splitlines() if x.startswith('{')]
        return self.popen.returncode, self.lines[-1] if self.lines else {}

    def finish(self):
        """Ends it in its own good time; its exit code."""
        with contextlib.suppress(OSError, RuntimeError):
            self.tell('end')
        return self.result()[0]

    def end(self):
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(60)
        for stream in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):
                stream.close()

    def words(self):
        return pathlib.Path(self.log).read_text(errors='replace').strip()[-600:]


class Suite:
    def __init__(self, options):
        self.options, self.software = options, options.software
        self.build = pathlib.Path(options.build).resolve()
        self.passed, self.failed, self.not_run = [], [], []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='berth-gpu-'))
        self.book = figures.Book(options.out, options.command, self.machine())
        self.programs, self.daemon, self.count, self.part = [], None, 0, ''
        self.settings = dict(SOFTWARE if self.software else dict(SETTINGS, **{'device.kind': 'cuda', 'arena.size': options.arena}))
        self.given = dict(self.settings, **dict(x.split('=', 1) for x in options.set))
        self.env = dict(os.environ, BERTH_SOCKET=str(self.dir / 'node.sock'), BERTH_CONFIG=str(self.dir / 'berthd.conf'), PYTHONUNBUFFERED='1',
                        CUDA_DEVICE_ORDER='PCI_BUS_ID', BERTH_ROAD='dlsym', PYTHONDONTWRITEBYTECODE='1')
        lib = self.build / 'lib'
        if lib.is_dir():
            self.env['LD_LIBRARY_PATH'] = f"{lib}:{self.env.get('LD_LIBRARY_PATH', '')}".rstrip(':')
        if self.software:
            (self.dir / 'device').mkdir()
            self.env['BERTH_SOFTWARE_DIR'] = str(self.dir / 'device')
        self.berth = str(self.build / 'src/cli/berth')
        self.devices = 1 if self.software else len(self.smi('--query-gpu=name', '--format=csv,noheader').splitlines())
        self.two = False

    # What is said

    def check(self, name, ok, detail=''):
        (self.passed if ok else self.failed).append(f'{self.part}: {name}')
        print(('ok    ' if ok else 'FAIL  ') + name + (f': {detail}' if detail != '' else ''), flush=True)
        return bool(ok)

    def say(self, *words):
        print('     ', *words, flush=True)

    def figure(self, name, value, **more):
        self.book.put(name, value, part=self.part, **more)
        self.say(f'{name} = {value} {figures.UNITS.get(name, "")}')

    def peer(self, name, who, value, **more):
        self.book.peer(name, who, value, **more)
        self.say(f'{name}: {who} {value} {figures.UNITS.get(name, "")}')

    def smi(self, *arguments):
        try:
            return subprocess.run(['nvidia-smi', *arguments], capture_output=True, text=True, timeout=60).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ''

    def machine(self):
        if self.software:
            return 'software device'
        names = self.smi('--query-gpu=name,driver_version,memory.total', '--format=csv,noheader').splitlines()
        return (f'{len(names)} x ' if len(names) > 1 else '') + (names[0].replace(', ', ' ') if names else 'unknown')

    def size(self, hardware, software):
        """Bytes: in GiB on hardware, in MiB on the software device."""
        return int(software * MIB) if self.software else int(hardware * GIB)

    # The daemon

    def write_settings(self):
        sections = {}
        for name, value in self.given.items():
            section, name = name.split('.', 1)
            sections.setdefault(section, []).append(f'{name} = {value}\n')
        text = ''.join(f'[{section}]\n' + ''.join(lines) for section, lines in sections.items())
        pathlib.Path(self.env['BERTH_CONFIG']).write_text(text)

    def start_daemon(self):
        self.write_settings()
        with open(self.dir / 'berthd.log', 'a') as log:
            self.daemon = subprocess.Popen([str(self.build / 'src/node/berthd')], env=self.env, stderr=log, stdout=log, start_new_session=True)
        end = time.monotonic() + 60
        while self.status(quiet=True) is None:
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError('berthd did not start: ' + self.log()[-2000:])
            time.sleep(0.05)

    def stop_daemon(self):
        if not self.daemon:
            return
        if self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
        self.check('the daemon ended as it should', self.daemon.wait() == 0, self.daemon.returncode)
        self.daemon = None

    def log(self):
        path = self.dir / 'berthd.log'
        return path.read_text(errors='replace') if path.exists() else ''

    def configure(self, **settings):
        """Settings for the rest of the part: memory__reserve_percent=63. Those that can't change while it runs restart the daemon."""
        self.given.update({name.replace('__', '.', 1): str(value) for name, value in settings.items()})
        self.apply()

    def apply(self):
        self.write_settings()
        done = subprocess.run([self.berth, 'reload'], env=self.env, capture_output=True, text=True, timeout=60)
        if done.returncode:
            self.stop_daemon()
            self.start_daemon()

    def status(self, quiet=False):
        done = subprocess.run([self.berth, 'status', '--json'], env=self.env, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return json.loads(done.stdout)
        if quiet:
            return None
        raise RuntimeError('berth status: ' + done.stderr.strip() + self.log()[-600:])

    def device(self, index=0):
        return self.status()['devices'][index]

    def client(self, program, status=None, device=0):
        for c in (status or self.status())['clients']:
            if c['pid'] == program.pid and c['device'] == device:
                return c
        return None

    def clients_of(self, program, status):
        """Of all processes that a program started, on all devices."""
        found = []
        for c in status['clients']:
            with contextlib.suppress(OSError):
                if os.getpgid(c['pid']) == program.pid:
                    found.append(c)
        return found

    def wait(self, condition, what, seconds=120):
        """Until condition(status) holds; what it returned."""
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            value = condition(status)
            if value:
                return value
            if time.monotonic() > end:
                raise RuntimeError(f'after {seconds} s still not: {what}; {json.dumps(status["devices"])[:900]} {json.dumps(status["clients"])[:2500]}')
            time.sleep(0.05)

    def wait_backed(self, program, share=0.98, seconds=120):
        """Until what a program owns has its places on the host: from then on a swap needs nothing made or lent."""
        begin = time.monotonic()
        self.wait(lambda st: (c := self.client(program, st)) and c['backed_bytes'] >= share * c['movable_bytes'] and c['movable_bytes'],
                  f'{program.name} has its places on the host', seconds)
        return time.monotonic() - begin

    def wait_gone(self, *programs):
        """Until the daemon knows no more of them."""
        pids = {p.pid for p in programs}
        self.wait(lambda st: not any(c['pid'] in pids for c in st['clients']), 'they have left', 60)

    @contextlib.contextmanager
    def sampling(self, milliseconds=2):
        """Writes down, from a process of its own, what the daemon says of everyone, as often as that; the trace is filled at the end."""
        path, samples = self.dir / f'samples-{time.monotonic_ns()}', trace.Trace()
        sampler = subprocess.Popen([sys.executable, str(HERE / 'sampler.py'), self.env['BERTH_SOCKET'], str(path), str(milliseconds)], stdout=subprocess.PIPE,
                                   text=True)
        try:
            if not sampler.stdout.readline():
                raise RuntimeError('the sampler did not start')
            yield samples
        finally:
            sampler.terminate()
            sampler.wait(30)
            sampler.stdout.close()
            samples.read(path)
            path.unlink(missing_ok=True)

    # Programs

    def launch(self, *argv, name=None, options=(), bare=False, env=None, cores=None, preload=None):
        """Starts a program under `berth run`, or bare."""
        self.count += 1
        name = f'{name or pathlib.Path(argv[0]).name}-{self.count}'
        words = list(argv)
        if not bare:
            words = [self.berth, 'run', *options, '--', *words]
        environment = dict(self.env, **(env or {}))
        if self.devices > 1 and not self.two:  # parts for one device see one, so that no neighbour helps
            environment['CUDA_VISIBLE_DEVICES'] = '0'
        if bare and self.software:
            environment['LD_LIBRARY_PATH'] = f"{self.build / 'tests/fake'}:{environment.get('LD_LIBRARY_PATH', '')}"
            environment.setdefault('BERTH_SOFTWARE_MEMORY', self.given['device.software_memory'])
        if preload:
            environment['LD_PRELOAD'] = str(preload)
        stay = (lambda: os.sched_setaffinity(0, set(cores) & os.sched_getaffinity(0) or os.sched_getaffinity(0))) if cores else None
        program = Program(name, words, self.dir / f'{name}.err', env=environment, cwd=self.dir, preexec_fn=stay)
        self.programs.append(program)
        return program

    def c(self, name, *arguments, **options):
        """One of tests/programs."""
        return self.launch(self.build / 'tests/programs' / name, *arguments, name=name, **options)

    def python(self, path, *arguments, **options):
        """One of the PyTorch programs beside this file."""
        return self.launch(self.options.python, HERE / path, *arguments, name=pathlib.Path(path).stem, **options)

    def hold(self, real=False, **options):
        """A program that holds memory and obeys: in C, or, where there is one, a real PyTorch process."""
        program = self.python('apps/hold.py', **options) if real and not self.software else self.c('hold', **options)
        program.line()
        return program

    def whole_device(self, taker, spare=None):
        """Bytes that the taker must ask for so that everyone else has to leave, all but `spare`: the room less every context's part, what can't move and what
        it has already."""
        status = self.status()
        device, clients = status['devices'][0], [c for c in status['clients'] if c['device'] == 0]
        part = (device['granted_bytes'] - sum(c['granted_bytes'] for c in clients)) // max(1, len(clients))
        kept = sum(c['pinned_bytes'] + (c['movable_bytes'] if c['pid'] == taker.pid else 0) for c in clients)
        if spare is None:
            spare = self.size(0.125, 2)
        want = (device['room_bytes'] - part * len(clients) - kept - spare) // (2 * MIB) * 2 * MIB
        held = ', '.join(f'{c["name"]} {c["granted_bytes"] / MIB:.0f}' for c in clients)
        self.say(f'takes {want / MIB:.0f} of {device["room_bytes"] / MIB:.0f} MiB; contexts {part / MIB:.0f} each; granted: {held}')
        return want

    # Parts

    def begin_part(self, name, seconds):
        self.part = name
        if self.daemon is None or self.daemon.poll() is not None:
            self.start_daemon()

        def late(number, frame):
            raise PartTimeout(f'{name} took longer than {seconds} s')

        signal.signal(signal.SIGALRM, late)
        signal.alarm(seconds)

    def end_part(self):
        signal.alarm(0)
        for program in self.programs:
            program.end()
        self.programs = []
        alive = self.daemon is not None and self.daemon.poll() is None
        if not self.check('the daemon is alive', alive, '' if alive else self.log()[-1500:]):
            self.daemon = None
            return
        with contextlib.suppress(Exception):
            self.wait(lambda st: not st['clients'], 'the programs have left', 20)
        wanted = dict(self.settings, **dict(x.split('=', 1) for x in self.options.set))
        if self.given != wanted:
            self.given = wanted
            self.apply()

    def run_part(self, name, function, seconds, two=False):
        begin, self.two = time.monotonic(), two
        print(f'--- {name} (at most {seconds} s)', flush=True)
        try:
            self.begin_part(name, seconds)
            function(self)
        except Exception as error:  # the other parts must still run
            self.check(f'{name} ran through', False, f'{type(error).__name__}: {str(error)[-1500:]}')
        finally:
            try:
                self.end_part()
            except Exception as error:
                self.check(f'{name} was cleared away', False, f'{type(error).__name__}: {str(error)[-600:]}')
            self.say(f'{name}: {time.monotonic() - begin:.1f} s')
            self.book.write()

    def close(self):
        signal.alarm(0)
        with contextlib.suppress(Exception):
            if self.daemon:
                rss = self.status()['daemon']['rss_bytes']
                if rss:
                    self.figure('daemon_rss_mib', round(rss / MIB, 2))
        self.stop_daemon()
        self.book.write()
        out = os.environ.get('OUT')
        if out:
            pathlib.Path(out, 'berthd.log').write_text(self.log()[-8 * MIB:])
        if self.failed:
            print('--- berthd.log, end\n' + self.log()[-3000:])
        shutil.rmtree(self.dir, ignore_errors=True)


def bare_driver(suite):
    """The driver's library by path, for calls that pass nobody's hooks: the very file that a program under Berth has mapped, so that there is one driver in it."""
    program = suite.hold()
    try:
        with open(f'/proc/{program.pid}/maps') as maps:
            found = [line.split(None, 5)[5].strip() for line in maps if '/libcuda.so' in line]
    finally:
        program.finish()
    if not found:
        raise RuntimeError('a program under Berth has no libcuda.so mapped')
    return found[0]
