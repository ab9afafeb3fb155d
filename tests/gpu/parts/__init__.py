"""The parts of the hardware suite: name, function, seconds it may take, suites it belongs to, what it needs."""
from parts import alone, exact, faults, firstlight, kinds, models, observe, peers, swap, trainings

# What the software device can run as well (no PyTorch in it) has needs=''. 'gpu': a real device with PyTorch. 'two': two of them.
PARTS = [
    # name, function, seconds, suites, needs
    ('lookup', firstlight.lookup, 90, 'first-light', 'gpu'),
    ('programs', firstlight.programs, 150, 'first-light memory', ''),
    ('limit', firstlight.limit, 60, 'first-light', 'gpu'),
    ('inside', firstlight.inside, 90, 'memory', 'gpu'),
    ('launch', firstlight.launch, 60, 'first-light', ''),
    ('swap', swap.swap, 150, 'first-light memory', ''),
    ('exchange', swap.exchange, 120, 'memory', ''),
    ('wake', swap.wake, 120, 'memory', ''),
    ('sizes', swap.sizes, 120, 'memory', ''),
    ('alloc', alone.alloc, 60, 'memory', ''),
    ('exact', exact.exact, 30, 'memory observe', ''),
    ('kinds', kinds.kinds, 200, 'memory', ''),
    ('faults', faults.faults, 150, 'memory', ''),
    ('fits', alone.fits, 90, 'memory', 'gpu'),
    ('trainings', trainings.two, 330, 'memory', 'gpu'),
    ('three', trainings.three, 420, 'first-light', 'gpu'),
    ('overhead', alone.overhead, 180, 'memory', 'gpu'),
    ('peers', peers.peers, 120, 'memory', 'gpu'),
    ('observe', observe.observe, 240, 'observe', 'gpu'),
    ('restart', models.restart, 150, 'generation', ''),
    ('models', models.models, 580, 'generation', ''),
    ('neighbour', swap.neighbour, 240, 'memory', 'two'),
    ('reclaimed', faults.reclaimed, 90, 'memory', 'two'),
    ('pair', kinds.pair, 120, 'memory', 'two'),
]
