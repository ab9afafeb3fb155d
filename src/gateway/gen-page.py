#!/usr/bin/env python3
"""gen-page.py OUTPUT DEPFILE ROOT: the files of ROOT/web/dist as C, for page.h.

Builds them first where that can be done (tools/build-page). Without them the list is empty: the page then says what is missing.
"""
import hashlib
import os
import re
import subprocess
import sys

TYPES = {'.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml',
         '.png': 'image/png', '.woff2': 'font/woff2', '.webmanifest': 'application/manifest+json', '.txt': 'text/plain; charset=utf-8', '.json': 'application/json'}
FORMS = ('', '.gz', '.br')
FORM_NAMES = ('', '-gzip', '-br')
LITERALS = [chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f'\\{b:03o}' for b in range(256)]


def files_below(folder):
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != 'node_modules')
        yield path, sorted(names)


def literal(data):
    return '\n'.join('"' + ''.join(LITERALS[b] for b in data[at:at + 4000]) + '"' for at in range(0, len(data), 4000)) or '""'


def embed(dist):
    entries = []
    for folder, names in files_below(dist):
        for name in names:
            path = os.path.join(folder, name)
            shown = '/' + os.path.relpath(path, dist)
            if name.endswith(FORMS[1:]) and os.path.exists(os.path.splitext(path)[0]):
                continue
            kind = TYPES.get(os.path.splitext(name)[1])
            immutable = shown.startswith('/assets/')
            if not kind or not re.fullmatch(r'(/assets)?/[A-Za-z0-9._-]+', shown):
                sys.exit(f'gen-page.py: {shown}: files of the page lie in dist/ or dist/assets/ and end in one of {" ".join(TYPES)}')
            if immutable and not re.search(r'-[A-Za-z0-9_-]{8}\.', name):
                sys.exit(f'gen-page.py: {shown}: what lies in assets/ is kept for ever by browsers, so its name must hold a hash of its content')
            entries.append(('/' if shown == '/index.html' else shown, kind, immutable, path))
    return sorted(entries)


def source(entries):
    out = ['/* Made by gen-page.py from web/dist. */\n#include "gateway/page.h"\n']
    for number, (shown, kind, immutable, path) in enumerate(entries):
        tags, datas, counts = [], [], []
        for form, name in zip(FORMS, FORM_NAMES):
            if os.path.exists(path + form):
                with open(path + form, 'rb') as f:
                    data = f.read()
                digest = digest if form else hashlib.sha256(data).hexdigest()[:16]
                out.append(f'static const char file_{number}{name.replace("-", "_")}[] =\n{literal(data)};\n')
                tags.append(f'"\\"{digest}{name}\\""')
                datas.append(f'file_{number}{name.replace("-", "_")}')
                counts.append(str(len(data)))
            else:
                tags.append('0'), datas.append('0'), counts.append('0')
        entries[number] = f'        {{"{shown}", "{kind}", {"true" if immutable else "false"}, {{{", ".join(tags)}}}, {{{", ".join(datas)}}}, {{{", ".join(counts)}}}}},\n'
    out.append('const struct page_file page_files[] = {\n' + ''.join(entries) + '        {0},\n};\n' + f'const size_t page_file_count = {len(entries)};\n')
    return ''.join(out)


def main():
    output, depfile, root = sys.argv[1:]
    web, dist = os.path.join(root, 'web'), os.path.join(root, 'web/dist')
    builder = os.path.join(root, 'tools/build-page')
    if subprocess.run([sys.executable, builder, root], stdin=subprocess.DEVNULL).returncode != 0:
        sys.exit(1)
    text = source(embed(dist) if os.path.exists(os.path.join(dist, 'index.html')) else [])
    with open(output, 'w', encoding='ascii') as out:
        out.write(text)
    # Everything that a change of would make another page, and folders, in which a file may appear.
    needs = [builder, os.path.join(root, 'web' if os.path.isdir(web) else '')]
    for folder, names in files_below(web):
        if not folder.startswith(dist):
            needs += [folder] + [os.path.join(folder, name) for name in names]
    stamp = os.path.join(web, 'node_modules/.package-lock.json')
    needs += [stamp] if os.path.exists(stamp) else []
    with open(depfile, 'w', encoding='utf-8') as out:
        out.write(f'{output}: ' + ' '.join(os.path.abspath(path).replace(' ', '\\ ') for path in needs) + '\n')


if __name__ == '__main__':
    main()
