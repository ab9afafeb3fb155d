"""score.py: how often berth-tiny answers as it was taught to, of questions drawn anew (greedily, in PyTorch, before rounding to 8 bits).

    python3 models/score.py FOLDER          FOLDER: where train.py kept its checkpoint
"""
import os
import random
import sys

import text
import topics
import torch
import train


def main():
    torch.set_num_threads(1)
    folder = sys.argv[1]
    pieces, model = train.vocabulary(folder), train.Model()
    model.load_state_dict(torch.load(os.path.join(folder, "checkpoint.pt"))["model"])
    r = random.Random(99)
    for name in ("sums", "calendar", "compare", "fits", "world", "data", "repeat", "code"):
        asked = [getattr(text, name)(r) for _ in range(60)]
        print(name, sum(train.answer(model, pieces, [("user", q)]) == a for q, a in asked), "of", len(asked))
    asked = [(q, answers) for questions, answers in topics.BERTH + topics.TALK for q in questions]
    print("facts and talk", sum(train.answer(model, pieces, [("user", q)]) in answers for q, answers in asked), "of", len(asked))


if __name__ == "__main__":
    main()
