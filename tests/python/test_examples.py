"""The examples that need no more than numpy, and that the notebooks are what ran. What needs torch, and running the notebooks, is in test_torch_examples.py."""
import base64
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from conftest import ROOT

EXAMPLES = ROOT / "examples" / "python"
SANITIZED = bool(os.environ.get("KRAIT_SANITIZED"))  # everything takes many times as long

sys.path.insert(0, str(ROOT / "tools"))
from make_notebooks import cells_of, code_digest  # noqa: E402

SOURCES = sorted((EXAMPLES / "notebooks").glob("*.py"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    """Runs a script in an empty folder as a program, without torch: what it printed, and its names."""

    def run_it(name: str, *arguments: str) -> Any:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.delenv("KRAIT_DATA", raising=False)
        names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out, names

    return run_it


def has_plot(out: str, path: Path) -> bool:
    """Either a PNG, or that matplotlib is missing is said."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return "matplotlib is not installed" in out and not path.exists()
    return f"plot: {path.name}" in out and path.read_bytes().startswith(b"\x89PNG")


def test_generate(run: Any) -> None:
    out, names = run("generate.py")
    assert "".join(names["pieces"]) == names["whole"].text and len(names["whole"].ids) == 40 and "NOT" not in out
    assert names["sentence"].finish == "stop_string"
    assert [t.text for t in names["texts"]] == [names["model"].generate(b, max_tokens=16, top_p=0.95, seed=3).text for b in names["beginnings"]]
    assert len(re.findall(r" %$", out, re.M)) == 6
    assert run("generate.py", "The", "cat")[0].count("The cat") == 2


def test_embed(run: Any) -> None:
    out, names = run("embed.py")
    assert names["right"] >= 3 * names["chance"] * len(names["texts"])
    assert f"{names['right']} of 16" in out
    assert names["topics"][names["order"][0]] == "food"


def test_fork_state(run: Any, tmp_path: Path) -> None:
    out, names = run("fork_state.py")
    assert len(set(names["endings"])) == 3 and names["again"] == names["endings"][0]
    assert len(set(names["sizes"])) == 1
    assert names["read"][-1] > 10 * names["loaded"][-1] and names["read"][-1] > 5 * names["read"][0]
    assert has_plot(out, tmp_path / "fork_state.png")


def test_dna(run: Any, tmp_path: Path) -> None:
    out, names = run("dna.py", "--steps", "30" if SANITIZED else "90", "--out", "dna")
    assert names["bits"][0] > 2.2 and names["bits"][-1] < 2.02
    counted = names["counted"]
    assert abs(counted[0] - 2) < 0.01 and 1.95 < min(counted) < counted[0] - 0.01
    model = names["model"]
    assert model.tokenizer.encode("ACGTN").tolist() == [model.tokenizer.id(c) for c in "ACGTN"]
    assert has_plot(out, tmp_path / "dna.png") and (tmp_path / "dna" / "model" / "tokenizer.json").exists()


def test_dna_reads_what_it_is_given(run: Any, tmp_path: Path) -> None:
    (tmp_path / "own.fa").write_text(">own\n" + "ACGTTGCAAN" * 2000 + "\n")
    _, names = run("dna.py", "--steps", "20", "--fasta", "own.fa")
    assert names["counted"][6] < 0.1 and names["bits"][-1] < 1  # it repeats itself: neither needs more than a little


def test_without_matplotlib_it_is_said(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "own.fa").write_text(">own\n" + "ACGTTGCAAN" * 2000 + "\n")
    out, _ = run("dna.py", "--steps", "4", "--fasta", "own.fa")
    assert "matplotlib is not installed" in out and not (tmp_path / "dna.png").exists()


def test_from_another_process(tmp_path: Path) -> None:
    """As a reader starts them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    result = subprocess.run([sys.executable, str(EXAMPLES / "embed.py")], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "nearest to" in result.stdout, result.stderr


def read(source: Path) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads(source.with_suffix(".ipynb").read_text("utf-8"))
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_a_notebook_is_what_ran(source: Path) -> None:
    """tools/make_notebooks.py makes them of the scripts beside them."""
    notebook = read(source)
    cells = [(c["cell_type"], "".join(c["source"])) for c in notebook["cells"]]
    assert cells == cells_of(source.read_text("utf-8")), f"run tools/make_notebooks.py {source.stem}"
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert notebook["metadata"]["krait"]["ran"] == code_digest(["".join(c["source"]) for c in code]), f"run tools/make_notebooks.py {source.stem}"
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_a_notebook_shows_something(source: Path) -> None:
    assert source.with_suffix(".ipynb").stat().st_size < 150_000
    outputs: List[Dict[str, Any]] = [o for c in read(source)["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    images = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(images) >= 2
    for image in images:
        data = base64.b64decode("".join(image))
        assert data.startswith(b"\x89PNG") and len(data) > 3000
    text = json.dumps([{**o, "data": {k: v for k, v in o.get("data", {}).items() if k != "image/png"}} for o in outputs])
    assert not re.search(r"/(home|tmp|work|root|usr)/", text), "a path of the machine that it ran on"
    assert len(re.findall(r'"stream"', text)) >= 3


def test_there_are_notebooks() -> None:
    assert len(SOURCES) >= 3 and sorted(p.stem for p in SOURCES) == sorted(p.stem for p in (EXAMPLES / "notebooks").glob("*.ipynb"))
    page = (ROOT / "docs" / "PYTHON.md").read_text("utf-8")
    for path in [*EXAMPLES.glob("*.py"), *(EXAMPLES / "notebooks").glob("*.ipynb")]:
        assert f"(../{path.relative_to(ROOT)})" in page, f"docs/PYTHON.md does not name {path.name}"
