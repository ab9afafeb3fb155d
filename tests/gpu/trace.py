"""What the samples say: how long a program took to leave, to come in, and how two of them changed places. No I/O but reading the file."""
import json

AWAY = ('giving-way', 'going-out')


class Trace:
    """Samples (time, {(pid, device): client}, [device])."""

    def __init__(self, samples=()):
        self.samples = list(samples)

    def read(self, path):
        with open(path) as lines:
            for line in lines:
                try:
                    at, clients, devices = json.loads(line)
                except ValueError:  # the last line of a sampler that was stopped
                    continue
                self.samples.append((at, {(c['pid'], c['device']): c for c in clients}, devices))

    def of(self, pid, device=0):
        """[(time, client)]"""
        return [(at, clients[pid, device]) for at, clients, _ in self.samples if (pid, device) in clients]

    def out(self, pid, device=0):
        """Each time a program gave way and went out: from the decision to the last byte gone. dicts of begin, end, bytes, moved."""
        return self._moves(pid, device, AWAY, ('waiting', 'coming-in', 'running'), True)

    def back(self, pid, device=0):
        """Each time a program came in: from the decision until it runs."""
        return self._moves(pid, device, ('coming-in',), ('running',), False)

    def _moves(self, pid, device, during, after, out):
        moves, begin = [], None
        samples = self.of(pid, device)
        for before, (at, client) in zip([samples[0] if samples else None] + samples, samples):
            if begin is None and client['state'] in during:
                begin = (at, before[1])
            elif begin is not None and client['state'] in after:
                key = 'out_bytes' if out else 'in_bytes'
                change = begin[1]['resident_bytes'] - client['resident_bytes']
                if change != 0:
                    moves.append(dict(begin=begin[0], end=at, bytes=change if out else -change, moved=client[key] - begin[1][key]))
                begin = None
            elif begin is not None and client['state'] not in during:
                begin = None
        return moves

    def exchanges(self, first, second, device=0):
        """Each time one of two programs went out and the other came in: from the decision against the one to the go for the other."""
        found = []
        for leaver, comer in ((first, second), (second, first)):
            ins = self.back(comer, device)
            for out in self.out(leaver, device):
                # The fill may begin before the first bytes are free, or after; it ends after the way out began.
                fits = [i for i in ins if i['end'] > out['begin'] and i['begin'] < out['end'] + 1.0 and i['moved'] > 0]
                if not fits or out['moved'] <= 0:
                    continue
                begin, end = out['begin'], max(fits[0]['end'], out['end'])
                into = self.resident(comer, end, device) - self.resident(comer, begin, device)
                found.append(dict(begin=begin, end=end, leaver=leaver, comer=comer, out=out['bytes'], into=into, seconds=end - begin,
                                  gbps=(out['bytes'] + into) / (end - begin) / 1e9))
        return sorted(found, key=lambda x: x['begin'])

    def resident(self, pid, at, device=0):
        """On the device at that time, as last seen."""
        seen = 0
        for when, client in self.of(pid, device):
            if when > at:
                break
            seen = client['resident_bytes']
        return seen

    def most(self, pid, device=0):
        """The most that was resident."""
        return max((client['resident_bytes'] for _, client in self.of(pid, device)), default=0)

    def course(self, pids, begin, end, points=120, device=0):
        """[[seconds since begin, resident bytes of each pid …]], thinned to so many points: for a plot."""
        rows = [[round(at - begin, 4)] + [clients.get((pid, device), {}).get('resident_bytes', 0) for pid in pids]
                for at, clients, _ in self.samples if begin <= at <= end]
        step = max(1, len(rows) // points)
        return rows[::step] + (rows[-1:] if rows and (len(rows) - 1) % step else [])


def rate(move, key='bytes'):
    """GB/s from the decision to the end."""
    return move[key] / (move['end'] - move['begin']) / 1e9
