#!/usr/bin/env python3
"""gen-text.py INPUT OUTPUT NAME: the text of a file as a C string of that name."""
import json
import sys

text = open(sys.argv[1]).read()
open(sys.argv[2], 'w').write(f'extern const char {sys.argv[3]}[];\nconst char {sys.argv[3]}[] =\n'
                             + '\n'.join(json.dumps(line) for line in text.splitlines(keepends=True)) + ';\n')
