#!/usr/bin/env python3
"""Token ids of ProtMamba for the proteins of a genome: `tools/cds_ids.py genome.gff.gz genome.fna.gz > ids.txt`.

Each protein comes behind <cls> (0), in the order of the annotation, a line each, as tools/a3m_ids.py writes those of an alignment. The annotation
is GFF3 (NCBI's) or GTF (Ensembl's), the sequence FASTA, either plain or gzipped. Left out, and counted on stderr: genes in several pieces (introns,
frame shifts), pseudogenes, and what is no whole reading frame: a length that three does not divide, a stop codon in the middle, no start at its beginning.
"""
import argparse
import collections
import gzip
import re
import sys
import urllib.parse

from a3m_ids import ids_of

BASES = "TCAG"
AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"  # NCBI's table 1, of which 11 differs by its starts
CODONS = {a + b + c: AMINO_ACIDS[16 * i + 4 * j + k] for i, a in enumerate(BASES) for j, b in enumerate(BASES) for k, c in enumerate(BASES)}
STARTS = {1: {"ATG", "CTG", "TTG"}, 11: {"ATG", "GTG", "TTG", "CTG", "ATT", "ATC", "ATA"}}
COMPLEMENT = str.maketrans("ACGTRYKMBVDH", "TGCAYRMKVBHD")
SELENOCYSTEINE = re.compile(r"\(pos:(?:complement\()?(\d+)\.\.\d+\)?,aa:Sec\)")

Gene = collections.namedtuple("Gene", "sequence begin end strand phase attributes")


def lines_of(path):
    """(number, line without its end)."""
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with (gzip.open if is_gzip else open)(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n")


def read_fasta(path):
    """{name: letters in upper case}."""
    parts, into = {}, None
    for number, line in lines_of(path):
        if line.startswith(">"):
            name = line[1:].split()[0] if line[1:].split() else ""
            if not name or name in parts:
                raise ValueError(f"{path}: line {number}: expected a new name behind '>', found '{name}'")
            into = parts[name] = []
        elif line:
            if into is None:
                raise ValueError(f"{path}: line {number}: expected '>', the header of a sequence, found '{line[:40]}'")
            into.append(line.strip().upper())
    if not parts:
        raise ValueError(f"{path}: expected sequences in FASTA, found none")
    return {name: "".join(lines) for name, lines in parts.items()}


def attributes_of(text):
    """GFF3's `key=value;`, or GTF's `key "value";`."""
    found = {}
    for part in text.split(";"):
        part = part.strip()
        key, separator, value = part.partition("=") if re.match(r"[\w.-]+=", part) else part.partition(" ")
        if separator:
            found[key] = urllib.parse.unquote(value.strip().strip('"'))
    return found


def read_genes(path):
    """{id: [Gene, one for each piece]} of the CDS lines, in their order."""
    genes = {}
    for number, line in lines_of(path):
        if line.startswith("##FASTA"):
            break
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 9:
            raise ValueError(f"{path}: line {number}: expected 9 columns between tabs, found {len(fields)}")
        sequence, _, kind, begin, end, _, strand, phase, attributes = fields
        if kind != "CDS":
            continue
        if not (begin.isdecimal() and end.isdecimal() and 1 <= int(begin) <= int(end)):
            raise ValueError(f"{path}: line {number}: expected 1 <= begin <= end, found {begin} and {end}")
        if strand not in ("+", "-") or phase not in ("0", "1", "2"):
            raise ValueError(f"{path}: line {number}: expected strand + or - and phase 0, 1 or 2, found {strand} and {phase}")
        values = attributes_of(attributes)
        name = values.get("ID") or values.get("protein_id") or values.get("transcript_id")
        if not name:
            raise ValueError(f"{path}: line {number}: expected an ID, a protein_id or a transcript_id, found none")
        genes.setdefault(name, []).append(Gene(sequence, int(begin), int(end), strand, int(phase), values))
    if not genes:
        raise ValueError(f"{path}: expected lines of type CDS, found none")
    return genes


def translate(gene, letters, table):
    """(protein, None), or (None, why not)."""
    bases = letters[gene.begin - 1:gene.end]
    if gene.strand == "-":
        bases = bases.translate(COMPLEMENT)[::-1]
    if len(bases) % 3:
        return None, "a length that three does not divide"
    if gene.phase or bases[:3] not in STARTS[table]:
        return None, "no start at the beginning"
    protein = ["M"] + [CODONS.get(bases[i:i + 3], "X") for i in range(3, len(bases), 3)]
    for exception in SELENOCYSTEINE.finditer(gene.attributes.get("transl_except", "")):
        at = int(exception[1])
        protein[(at - gene.begin if gene.strand == "+" else gene.end - at) // 3] = "U"
    if protein[-1] == "*":  # which GTF leaves out
        protein.pop()
    if "*" in protein:
        return None, "a stop codon in the middle"
    return "".join(protein), None


def proteins(genes, genome, table, skipped, left_out):
    """Those of whole genes; why the others are none is counted in left_out."""
    for name, pieces in genes.items():
        gene = pieces[0]
        if gene.sequence in skipped:
            left_out["on a sequence to be skipped"] += 1
            continue
        if gene.sequence not in genome:
            raise ValueError(f"{name}: expected one of the genome's {len(genome)} sequences, found '{gene.sequence}'")
        if gene.end > len(genome[gene.sequence]):
            raise ValueError(f"{name}: expected an end within the {len(genome[gene.sequence])} letters of '{gene.sequence}', found {gene.end}")
        protein, why_not = None, None
        if "pseudo" in gene.attributes or "pseudogene" in gene.attributes:
            why_not = "pseudogenes"
        elif "exception" in gene.attributes:
            why_not = gene.attributes["exception"]
        elif len(pieces) > 1:
            why_not = "in several pieces"
        else:
            protein, why_not = translate(gene, genome[gene.sequence], table)
        if protein:
            yield protein
        else:
            left_out[why_not] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotation", help="GFF3 or GTF, plain or gzipped")
    parser.add_argument("genome", help="FASTA, plain or gzipped")
    parser.add_argument("--table", type=int, choices=sorted(STARTS), default=11, help="the genetic code, in NCBI's numbers: 11 is that of bacteria [11]")
    parser.add_argument("--skip", metavar="NAME", action="append", default=[], help="leave out a sequence (mitochondria have codes of their own)")
    parser.add_argument("--fasta", action="store_true", help="write letters, for looking at them, instead of ids")
    options = parser.parse_args()
    left_out, n, n_ids = collections.Counter(), 0, 0
    try:
        genome = read_fasta(options.genome)
        for name in options.skip:
            if name not in genome:
                raise ValueError(f"--skip: {options.genome} has no sequence '{name}'")
        for protein in proteins(read_genes(options.annotation), genome, options.table, set(options.skip), left_out):
            ids = ids_of(protein)
            n, n_ids = n + 1, n_ids + len(ids)
            print(f">{n}\n{protein}" if options.fasta else " ".join(map(str, ids)))
    except BrokenPipeError:
        sys.exit(1)
    except (OSError, EOFError, UnicodeDecodeError, ValueError) as problem:
        sys.exit(f"cds_ids.py: {problem}")
    print(f"{n} proteins, {n_ids} ids", file=sys.stderr)
    for why, count in left_out.most_common():
        print(f"left out: {count}: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
