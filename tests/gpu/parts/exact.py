"""Exactness: the most a scripted allocator ever held, spikes shorter than a millisecond included, is what Berth says."""


def exact(s):
    """Peak and present bytes of a scripted allocator: by its script and by Berth."""
    calls = 20000 if not s.software else 1500
    program = s.hold()
    base = s.wait(lambda st: s.client(program, st), 'the program is known')['owned_bytes']
    program.ask(f'alloc {s.size(1, 32)} {s.size(0.25, 8)}')
    held = s.wait(lambda st: (c := s.client(program, st)) and c['owned_bytes'] > base and c, 'its memory is known')['owned_bytes'] - base
    s.check('held bytes are exact', held == s.size(1, 32), f'{held} of {s.size(1, 32)}')
    answer = program.ask(f'spikes {calls} 7')
    peak = s.client(program)['peak_bytes']
    error = peak - base - answer['most']
    s.figure('peak_error_bytes', abs(error), peak_bytes=peak, scripted_bytes=answer['most'] + base, calls=calls,
             seconds=round(answer['end'] - answer['begin'], 3),
             method=f'{calls} random allocations and frees of 2 and 4 MiB beside memory that stays; the most bytes ever held, by script and by Berth')
    s.check('the peak is exact', error == 0, error)
    s.check('nothing drifted', s.client(program)['owned_bytes'] - base == held)
    s.check('it ended well', program.finish() == 0, program.words())
