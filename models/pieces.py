"""pieces.py: the vocabulary of berth-tiny: byte pairs merged by frequency, laid out as llama.cpp's "llama" tokenizer wants them.

Space is "▁"; a character without a piece of its own is spelled in bytes (<0x00> to <0xFF>), so every text has tokens and comes back as it was.
No piece crosses a word's start and none holds two digits: numbers are read digit by digit. The score of a piece is minus its rank, so that
llama.cpp, which merges the pair of the highest score first, arrives at the same tokens as encode() here.
"""
import re
from collections import Counter

SPACE = "▁"
CONTROL = ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
UNKNOWN, BEGIN, END = 0, 1, 2
ROLES = {"system": 3, "user": 4, "assistant": 5}
BYTES_AT = len(CONTROL)
PIECES_AT = BYTES_AT + 256

# What merges are confined to: a word with its space, a run of spaces (code), one digit, one other character.
PARTS = re.compile(rf"{SPACE}?[^\W\d_{SPACE}]+|{SPACE}+|\d|.", re.S)


def parts(text):
    return PARTS.findall(text.replace(" ", SPACE))


def merge(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def learn(texts, size):
    """The pieces, best first: characters that occur often, then merges, until the vocabulary has `size` tokens."""
    words = Counter(part for text in texts for part in parts(text))
    letters = Counter()
    for word, n in words.items():
        for letter in word:
            letters[letter] += n
    # Line ends stay bytes, as llama.cpp expects; rare letters, too.
    pieces = sorted((c for c, n in letters.items() if n >= 100 and c != "\n" and (c.isascii() or c == SPACE)), key=lambda c: (-letters[c], c))
    spelled = {word: list(word) for word in words}
    merges = []
    while PIECES_AT + len(pieces) + len(merges) < size:
        pairs = Counter()
        for word, symbols in spelled.items():
            for pair in zip(symbols, symbols[1:]):
                if pair[0] + pair[1] not in merges and all(c in letters and letters[c] >= 100 for c in pair[0] + pair[1]):
                    pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] < 2:
            break
        merges.append(best[0] + best[1])
        for word, symbols in spelled.items():
            if len(symbols) > 1:
                spelled[word] = merge(symbols, best)
    return merges, pieces


class Pieces:
    def __init__(self, merges, letters):
        self.merges, self.letters = merges, letters
        self.tokens = CONTROL + [f"<0x{b:02X}>" for b in range(256)] + merges + letters
        self.number = {piece: PIECES_AT + i for i, piece in enumerate(merges + letters)}
        self.known = {}

    def scores(self):
        return [0.0] * PIECES_AT + [-float(i) for i in range(len(self.merges) + len(self.letters))]

    def kinds(self):
        """llama.cpp's numbers: 1 normal, 2 unknown, 3 control, 6 byte."""
        return [2] + [3] * (len(CONTROL) - 1) + [6] * 256 + [1] * (len(self.tokens) - PIECES_AT)

    def part(self, word):
        symbols = list(word)
        while len(symbols) > 1:
            ranked = [(self.number.get(a + b, 1 << 30), i) for i, (a, b) in enumerate(zip(symbols, symbols[1:]))]
            rank, i = min(ranked)
            if rank == 1 << 30:
                break
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        out = []
        for symbol in symbols:
            if symbol in self.number:
                out.append(self.number[symbol])
            else:
                out += [BYTES_AT + b for b in symbol.replace(SPACE, " ").encode()]
        return out

    def encode(self, text):
        out = []
        for part in parts(text):
            if part not in self.known:
                self.known[part] = self.part(part)
            out += self.known[part]
        return out

    def decode(self, tokens):
        out = b""
        for t in tokens:
            if BYTES_AT <= t < PIECES_AT:
                out += bytes([t - BYTES_AT])
            elif t >= PIECES_AT:
                out += self.tokens[t].replace(SPACE, " ").encode()
        return out.decode(errors="replace")

    def conversation(self, turns):
        """Tokens of a document, and which of them the model is to learn to say (1) or only to read (0)."""
        tokens, said = [BEGIN], [0]
        for role, words in turns:
            if role == "text":
                body = self.encode(words) + [END]
                return tokens + body, said + [1] * len(body)
            body = self.encode(words) + [END]
            tokens += [ROLES[role]] + body
            said += [0] + [1 if role == "assistant" else 0] * len(body)
        return tokens, said
