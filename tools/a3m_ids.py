#!/usr/bin/env python3
"""Token ids of ProtMamba for the sequences of an alignment (.a3m or .fasta): `tools/a3m_ids.py FILE.a3m > ids.txt`.

Each sequence comes behind <cls> (0); gaps and dots are dropped, insertions (lower case) are letters like the others, unknown ones are <unk>."""
import sys

CLS, UNKNOWN, FIRST = 0, 3, 4
LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"


def sequences(lines):
    parts = []
    for line in lines:
        if line.startswith(">"):
            if parts:
                yield "".join(parts)
            parts = []
        else:
            parts.append(line.strip())
    if parts:
        yield "".join(parts)


def ids_of(sequence):
    letters = sequence.upper().replace("-", "").replace(".", "")
    return [CLS] + [FIRST + LETTERS.index(c) if c in LETTERS else UNKNOWN for c in letters]


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: a3m_ids.py FILE.a3m > ids.txt")
    with open(sys.argv[1], encoding="ascii") as file:
        for sequence in sequences(file):
            print(" ".join(map(str, ids_of(sequence))))


if __name__ == "__main__":
    main()
