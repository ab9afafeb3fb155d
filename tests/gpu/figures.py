"""The results file: one row a figure, what it is, what others reach, and where it was measured.

A row that was not measured in this run stays as it was in the file, so that parts can be run one at a time. A value that could not be measured is absent, never a
made-up number.

    figures.py INTO FROM [FROM …]      takes over what other results files have measured, the last one first
"""
import datetime
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name: unit, which way is better, goal, what the hardware allows (or None)
TABLE = {
    'swap_out_gbps': ('GB/s', 'higher', 54, 55.3),
    'swap_in_gbps': ('GB/s', 'higher', 54, 55.4),
    'first_swap_stall': ('ratio', 'lower', None, None),
    'exchange_gbps': ('GB/s', 'higher', 97, 101.2),
    'wake_60gib_s': ('s', 'lower', 1.3, None),
    'drop_clean_60gib_s': ('s', 'lower', 0.1, None),
    'neighbour_gbps': ('GB/s', 'higher', 350, 395),
    'two_trainings_over_serial': ('ratio', 'lower', 1.2, None),
    'two_trainings_batch_over_serial': ('ratio', 'lower', 1.05, None),
    'two_trainings_right': ('bool', 'higher', 1, 1),
    'colocated_over_bare': ('ratio', 'higher', 0.99, None),
    'colocated_bytes_moved': ('bytes', 'lower', 0, None),
    'alone_overhead_pct_smallops': ('%', 'lower', 0.5, None),
    'alone_overhead_pct_graph': ('%', 'lower', 0.5, None),
    'alone_overhead_pct_training': ('%', 'lower', 0.5, None),
    'alloc_over_driver': ('ratio', 'lower', 1, None),
    'peak_error_bytes': ('bytes', 'lower', 0, None),
    'swap_by_size': ('GB/s', 'higher', None, 55.3),
    'kinds_right': ('programs', 'higher', None, None),
    'kinds_moved': ('programs', 'higher', None, None),
    'faults_right': ('cases', 'higher', None, None),
    'neighbour_reclaimed': ('bool', 'higher', 1, 1),
    'model_switch_ttft_s': ('s', 'lower', 2.5, None),
    'restart_ttft_s': ('s', 'lower', None, None),
    'poisson_mean_over_fcfs': ('ratio', 'lower', 0.5, None),
    'poisson_p95_over_fcfs': ('ratio', 'lower', 0.5, None),
    'uprobe_ns': ('ns over the bare call', 'lower', 800, None),
    'training_slowdown_pct': ('%', 'lower', 1, None),
    'hook_counter_ns': ('ns over the bare call', 'lower', 5, None),
    'daemon_rss_mib': ('MiB', 'lower', 8, None),
}
UNITS = {name: row[0] for name, row in TABLE.items()}


def commit():
    said = os.environ.get('BERTH_COMMIT')
    if said:
        return said
    try:
        return subprocess.run(['git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ''


class Book:
    def __init__(self, path, command, machine):
        self.path, self.command, self.machine = pathlib.Path(path), command, machine
        self.commit, self.rows, self.peers = commit(), {}, {}

    def put(self, name, value, unit=None, better=None, goal=None, limit=None, **more):
        known = TABLE.get(name, (unit, better, goal, limit))
        self.rows[name] = dict(name=name, value=value, unit=unit or known[0], better=better or known[1], goal=known[2] if goal is None else goal,
                               limit=known[3] if limit is None else limit, peers={}, machine=self.machine, commit=self.commit,
                               date=datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'), command=self.command, **more)

    def peer(self, name, who, value, **more):
        """What another way of doing it reaches on the same machine, in the same run."""
        self.peers.setdefault(name, {})[who] = dict(value=value, machine=self.machine, **more)

    def merged(self):
        try:
            old = {row['name']: row for row in json.loads(self.path.read_text())}
        except (OSError, ValueError):
            old = {}
        return merge(list(old.values()), list(self.rows.values()), self.peers)

    def write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(self.path.name + '.new')
        new.write_text(json.dumps(self.merged(), indent=1) + '\n')
        os.replace(new, self.path)


def with_kinds(old, fresh):
    """Of programs of every kind those that were not run this time stay, each with the commit that it was run on."""
    mark = {name: old.get(name) for name in ('commit', 'date', 'machine')}
    run = {r['kind'] for r in fresh['rows']}
    stay = [{**mark, **r} for r in old.get('rows', []) if r['kind'] not in run]
    rows = sorted(stay + fresh['rows'], key=lambda r: r['kind'])
    return dict(fresh, rows=rows, value=sum(r['right'] for r in rows), of=len(rows)), sum(r['moved_out'] > 0 for r in rows)


def merge(old, fresh, peers=None):
    """Fresh rows replace old ones of the same name; peers that were not measured this time are kept. Rows in the order of TABLE."""
    rows = {row['name']: dict(row) for row in old}
    fresh = {row['name']: row for row in fresh}
    if 'kinds_right' in fresh and 'kinds_right' in rows:
        fresh['kinds_right'], moved = with_kinds(rows['kinds_right'], fresh['kinds_right'])
        if 'kinds_moved' in fresh:
            fresh['kinds_moved'] = dict(fresh['kinds_moved'], value=moved, of=fresh['kinds_right']['of'])
    for row in fresh.values():
        before = rows.get(row['name'], {}).get('peers', {})
        rows[row['name']] = dict(row, peers={**before, **row.get('peers', {})})
    for name, others in (peers or {}).items():
        known = TABLE.get(name, (None, None, None, None))
        row = rows.setdefault(name, dict(name=name, value=None, unit=known[0], better=known[1], goal=known[2], limit=known[3], peers={}))
        row['peers'] = {**row.get('peers', {}), **others}
    order = {name: i for i, name in enumerate(TABLE)}
    return sorted(rows.values(), key=lambda row: (order.get(row['name'], len(order)), row['name']))


def main(into, *others):
    """Results that came from elsewhere, into the file that is kept."""
    path = pathlib.Path(into)
    rows = json.loads(path.read_text()) if path.exists() else []
    for other in others:
        fresh = json.loads(pathlib.Path(other).read_text())
        measured = [row for row in fresh if row.get('value') is not None]
        rows = merge(rows, measured, {row['name']: row['peers'] for row in fresh if row.get('peers')})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
