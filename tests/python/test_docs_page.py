"""The Python blocks of docs/PYTHON.md, one after another, and what they say they print. What needs torch is left to `make test-torch`, whose name this has in
test_docs_page_with_torch."""
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from conftest import ROOT


def blocks() -> List[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "PYTHON.md").read_text("utf-8"), re.S)


def expected(block: str) -> List[str]:
    return [line.split("#-> ", 1)[1] for line in block.splitlines() if "#-> " in line]


def run(names: Dict[str, Any], chosen: List[str]) -> List[Tuple[str, List[str], List[str]]]:
    results = []
    for block in chosen:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(block, "docs/PYTHON.md", "exec"), names)
        results.append((block, out.getvalue().splitlines(), expected(block)))
    return results


def check(results: List[Tuple[str, List[str], List[str]]]) -> None:
    for block, found, wanted in results:
        assert found == wanted, block


def test_docs_page(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    plain = [b for b in blocks() if "torch" not in b]
    assert len(plain) >= 6 and sum(len(expected(b)) for b in plain) >= 12
    check(run({}, plain))


def test_docs_page_with_torch(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    check(run({}, [b for b in blocks() if "torch" in b]))
