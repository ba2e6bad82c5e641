"""Small programs in tools/ whose output figures in docs rest on."""
import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"  # ProtMamba's, from id 4 on
#         1         11        21        31        41        51        61
GENOME = "TTGAAACGCTGATAACCCTTAGCACATCCCGTGTGATAGAAACCATGAAATGATTTATGTAGAAA"


def cds_ids(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(ROOT / "tools" / "cds_ids.py"), *arguments], capture_output=True, text=True)


def write(folder: Path, annotation: str) -> "tuple[str, str]":
    (folder / "g.fna").write_text(f">one and more\n{GENOME[:40]}\n{GENOME[40:].lower()}\n")
    with gzip.open(folder / "a.gff.gz", "wt") as file:
        file.write(annotation)
    return str(folder / "a.gff.gz"), str(folder / "g.fna")


def cds(begin: int, end: int, strand: str, attributes: str, phase: str = "0", sequence: str = "one") -> str:
    return "\t".join([sequence, "x", "CDS", str(begin), str(end), ".", strand, phase, attributes]) + "\n"


def test_proteins_of_both_strands_become_ids(tmp_path: Path) -> None:
    annotation, genome = write(tmp_path, "##gff-version 3\none\tx\tgene\t1\t12\t.\t+\t.\tID=g\n"
                               + cds(1, 12, "+", "ID=a;transl_table=11")                              # TTG AAA CGC TGA: M K R
                               + cds(19, 30, "-", "ID=b")                                             # GGG ATG TGC TAA: no start
                               + cds(19, 27, "-", "ID=c")                                             # ATG TGC TAA: M C
                               + cds(31, 39, "+", "ID=d;transl_except=(pos:34..36%2Caa:Sec)")         # GTG TGA TAG: M U
                               + cds(45, 50, "+", 'gene_id "e"; protein_id "e";')                     # ATG AAA, as GTF has it: M K
                               + cds(1, 12, "+", "ID=f;pseudo=true") + cds(1, 3, "+", "ID=g") + cds(4, 9, "+", "ID=g")
                               + cds(1, 11, "+", "ID=h") + cds(1, 15, "+", "ID=i") + cds(1, 9, "+", "ID=j;exception=ribosomal slippage"))
    found = cds_ids(annotation, genome)
    assert found.returncode == 0, found.stderr
    expected = [[0] + [4 + LETTERS.index(c) for c in protein] for protein in ("MKR", "MC", "MU", "MK")]
    assert [[int(i) for i in line.split()] for line in found.stdout.splitlines()] == expected
    assert found.stderr.splitlines()[0] == "4 proteins, 13 ids"
    for why in ("no start at the beginning", "pseudogenes", "in several pieces", "three does not divide", "a stop codon in the middle", "ribosomal slippage"):
        assert f"left out: 1: {'' if why != 'three does not divide' else 'a length that '}{why}" in found.stderr, why
    assert cds_ids(annotation, genome, "--fasta").stdout.splitlines()[:2] == [">1", "MKR"]
    skipped = cds_ids(annotation, genome, "--skip", "one")
    assert skipped.stdout == "" and "left out: 10: on a sequence to be skipped" in skipped.stderr


@pytest.mark.parametrize("line, message", [
    ("one\tx\tCDS\t1\n", "line 1: expected 9 columns between tabs, found 4"),
    (cds(0, 3, "+", "ID=a"), "line 1: expected 1 <= begin <= end, found 0 and 3"),
    (cds(1, 3, "?", "ID=a"), "line 1: expected strand + or - and phase 0, 1 or 2, found ? and 0"),
    (cds(1, 3, "+", "Note=a"), "line 1: expected an ID, a protein_id or a transcript_id, found none"),
    (cds(1, 999, "+", "ID=a"), "a: expected an end within the 65 letters of 'one', found 999"),
    (cds(1, 3, "+", "ID=a", sequence="two"), "a: expected one of the genome's 1 sequences, found 'two'"),
    ("# nothing\n", "expected lines of type CDS, found none")])
def test_wrong_annotations_are_told(tmp_path: Path, line: str, message: str) -> None:
    found = cds_ids(*write(tmp_path, line))
    assert found.returncode == 1 and message in found.stderr and "Traceback" not in found.stderr


def test_wrong_files_are_told(tmp_path: Path) -> None:
    annotation, genome = write(tmp_path, cds(1, 12, "+", "ID=a"))
    (tmp_path / "no.fna").write_text("ACGT\n")
    (tmp_path / "cut.gz").write_bytes(Path(annotation).read_bytes()[:30])
    for arguments, message in (((annotation, str(tmp_path / "none")), "No such file"), ((annotation, str(tmp_path / "no.fna")), "line 1: expected '>'"),
                               ((str(tmp_path / "cut.gz"), genome), "cds_ids.py: "), ((annotation, genome, "--skip", "two"), "has no sequence 'two'")):
        found = cds_ids(*arguments)
        assert found.returncode == 1 and message in found.stderr and "Traceback" not in found.stderr, found.stderr
    assert cds_ids("--help").returncode == 0 and cds_ids(annotation).returncode == 2
