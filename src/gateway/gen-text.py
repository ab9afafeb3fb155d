#!/usr/bin/env python3
"""gen-text.py OUTPUT NAME=INPUT …: texts of files as C strings of those names."""
import json
import sys

with open(sys.argv[1], 'w') as out:
    for pair in sys.argv[2:]:
        name, path = pair.split('=', 1)
        lines = open(path, encoding='utf-8').read().splitlines(keepends=True)
        out.write(f'extern const char {name}[];\nconst char {name}[] =\n' + '\n'.join(json.dumps(line, ensure_ascii=False) for line in lines) + ';\n')
