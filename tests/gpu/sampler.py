"""Asks the daemon for its state again and again and writes each answer down with the time it came.

usage: sampler.py SOCKET FILE MILLISECONDS     until SIGTERM; prints one line when it has begun

Stands outside of what it measures: times of decisions and of their ends are those at which an onlooker saw them, at most one interval late.
"""
import json
import pathlib
import signal
import sys
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'system'))
import wire  # noqa: E402

STATES = ('waiting', 'coming-in', 'running', 'giving-way', 'going-out')
CLIENT = ('movable_bytes', 'pinned_bytes', 'resident_bytes', 'granted_bytes', 'out_bytes', 'in_bytes', 'out_ns', 'in_ns')
DEVICE = ('out_bytes', 'in_bytes', 'switches', 'granted_bytes')


def look(peer):
    peer.say('STATUS_ASK', flags=0)
    clients, devices = [], []
    while True:
        name, fields = peer.receive()
        if name == 'STATUS_CLIENT':
            state = fields['state']
            clients.append(dict(pid=fields['pid'], device=fields['device'], state=STATES[state] if state < len(STATES) else str(state),
                                **{key: fields[key] for key in CLIENT}))
        elif name == 'STATUS_DEVICE':
            devices.append({key: fields[key] for key in DEVICE})
        elif name == 'STATUS_END':
            peer.seen.clear()
            return clients, devices


def main(socket, path, milliseconds):
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    peer = wire.Peer(types.SimpleNamespace(environment={'BERTH_SOCKET': socket}))
    peer.hello(role=wire.CONTROL, name='sampler')
    step, next_at = float(milliseconds) / 1000, time.monotonic()
    with open(path, 'w', buffering=1 << 20) as out:
        look(peer)
        print('begun', flush=True)
        last = False
        while not last:
            last = not going  # one more look after the signal: what had happened by then is in the file
            clients, devices = look(peer)
            out.write(json.dumps([time.monotonic(), clients, devices]) + '\n')
            next_at += step
            delay = next_at - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            else:
                next_at = time.monotonic()


if __name__ == '__main__':
    main(*sys.argv[1:])
