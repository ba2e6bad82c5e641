"""krait/_abi.py says of structures, constants and functions what a C compiler makes of the headers."""
import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from krait import _abi

HEADERS = sorted(p for p in (ROOT / "include" / "krait").glob("*.h"))
STRUCTS = {name: value for name, value in vars(_abi).items() if isinstance(value, type) and issubclass(value, ctypes.Structure)
           and value is not ctypes.Structure}
CONSTANTS = {name: value for name, value in vars(_abi).items() if name.startswith("KRAIT_")}


def compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not found:
        pytest.skip("no C compiler")
    return found


def test_it_is_what_the_generator_writes() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools" / "make_abi.py"), "--check"], check=True)


def test_layouts_and_constants(tmp_path: Path) -> None:
    lines = ["#include <stdio.h>", "#include <stddef.h>"] + [f'#include "krait/{h.name}"' for h in HEADERS] + ["int main(void) {"]
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field, *_ in struct._fields_:
            lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));')
    lines += [f'printf("{name} %d\\n", (int){name});' for name in CONSTANTS] + ["return 0; }"]
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text("\n".join(lines))
    subprocess.run([compiler(), "-I", str(ROOT / "include"), str(source), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    found = {}
    for line in said.splitlines():
        name, *numbers = line.split()
        found[name] = [int(n) for n in numbers]
    expected = {name: [value] for name, value in CONSTANTS.items()}
    for name, struct in STRUCTS.items():
        expected[name] = [ctypes.sizeof(struct)]
        for field, *_ in struct._fields_:
            place = getattr(struct, field)
            expected[f"{name}.{field}"] = [place.offset, place.size]
    assert found == expected


def test_nothing_of_the_headers_is_missing() -> None:
    text = "".join(re.sub(r"/\*.*?\*/", "", h.read_text(), flags=re.S) for h in HEADERS)
    assert set(re.findall(r"typedef struct (\w+) \{", text)) == set(STRUCTS)
    functions = set(re.findall(r"KRAIT_API [^;(]*?(krait_\w+)\(", text))
    assert len(functions) > 100 and functions == set(_abi.FUNCTIONS)
    constants = set(re.findall(r"\bKRAIT_[A-Z0-9_]+(?=\s*(?:=|,|\n))", "".join(re.findall(r"typedef enum \w+ \{(.*?)\}", text, re.S))))
    assert constants <= set(CONSTANTS)
