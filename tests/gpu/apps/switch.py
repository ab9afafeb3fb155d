"""Lets one process call the driver hooked and bare in turn: every pointer to a gated wrapper that this process's libraries hold is exchanged for the driver's own
function, and back.

The runtime, cuBLAS and the others ask for the driver's functions once and keep the pointers. Where they keep them is found by looking through the process's writable
memory for the wrappers' addresses; a word is written only while it holds the one or the other of a pair. Only gated calls are exchanged (launches, copies, events): no
memory is allocated by the one and freed by the other. Whether it worked is told by the daemon: bare, the program issues nothing that Berth counts.
"""
import ctypes
import pathlib
import re

HOOKS = pathlib.Path(__file__).resolve().parents[3] / 'src/cuda/hooks.def'
GATED = re.compile(r'^GATED(2?)\((\w+), (?:(_\w+), )?', re.M)
VERSIONS = (13000, 12000, 11010, 10000, 7000, 4000, 3020)
MOST = 1 << 29  # larger mappings hold data
MASK = 0x5A5A5A5A5A5A  # a dict holds its keys' hashes, which for numbers are the numbers: these must not be taken for pointers


def regions():
    """(begin, end, path) of this process's memory by how it may be used."""
    for line in pathlib.Path('/proc/self/maps').read_text().splitlines():
        words = line.split(None, 5)
        begin, end = (int(x, 16) for x in words[0].split('-'))
        yield begin, end, words[1], words[5] if len(words) > 5 else ''


def asked(library, name, version, flags):
    function, status = ctypes.c_void_p(), ctypes.c_int()
    code = library.cuGetProcAddress_v2(name.encode(), ctypes.byref(function), version, ctypes.c_uint64(flags), ctypes.byref(status))
    return function.value if code == 0 else None


def within(data, low, high):
    """The words of some memory that lie in a range: (index, word)."""
    try:
        import numpy
        words = numpy.frombuffer(data[:len(data) // 8 * 8], dtype=numpy.uint64)
        return [(int(i), int(words[i])) for i in numpy.flatnonzero((words >= low) & (words < high))]
    except ImportError:
        return [(i, word) for i, word in enumerate(memoryview(data[:len(data) // 8 * 8]).cast('Q')) if low <= word < high]


class Switch:
    def __init__(self, driver):
        """driver: path of the file that bears the driver's own functions, mapped already."""
        bare, hooked = ctypes.CDLL(driver), ctypes.CDLL('libcuda.so.1')
        text = [(b, e) for b, e, how, path in regions() if 'libberth-cuda' in path and 'x' in how]
        self.pairs = {}
        for name in {re.sub(r'_v[0-9]+$', '', m[1]) for m in GATED.findall(HOOKS.read_text())}:
            for version in VERSIONS:
                for flags in (1, 2):  # legacy and per-thread default stream
                    own, wrapper = asked(bare, name, version, flags), asked(hooked, name, version, flags)
                    if own and wrapper and any(b <= wrapper < e for b, e in text):
                        self.pairs.setdefault(wrapper ^ MASK, own)
        self.low, self.high = min(b for b, _ in text), max(e for _, e in text)
        self.places = []

    def find(self):
        """Looks for the pointers; the calls are hooked. How many there are."""
        self.places = []
        with open('/proc/self/mem', 'rb', buffering=0) as memory:
            for begin, end, how, path in list(regions()):
                if not how.startswith('rw-p') or end - begin > MOST or path.startswith(('/dev', '[v', '[stack')):
                    continue
                for at in range(begin, end, 1 << 26):
                    try:
                        memory.seek(at)
                        data = memory.read(min(1 << 26, end - at))
                    except OSError:
                        break
                    self.places += [(at + 8 * i, word) for i, word in within(data, self.low, self.high) if word ^ MASK in self.pairs]
        return len(self.places)

    def to(self, bare):
        """Exchanges all of them; how many were."""
        done = 0
        for at, wrapper in self.places:
            word, own = ctypes.c_uint64.from_address(at), self.pairs[wrapper ^ MASK]
            if word.value == (wrapper if bare else own):
                word.value = own if bare else wrapper
                done += 1
        return done
