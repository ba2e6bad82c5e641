"""The examples that need torch, and every notebook, cell by cell in a fresh kernel. Needs torch, transformers, nbclient, ipykernel and matplotlib: `make test-torch`."""
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

pytest.importorskip("torch")
EXAMPLES = ROOT / "examples" / "python"

sys.path.insert(0, str(ROOT / "tools"))
import make_notebooks  # noqa: E402

# What has to hold behind a notebook's last cell, with fewer steps of training than what is shown in it took.
HOLDS = {
    "tour": ("", "assert by_layer[5] >= 10 and read[-1] > 10 * loaded[-1] and len(pieces) == len(bits)"),
    "memory": ("", "assert (apart[-1] < apart[0] / 50).all() and gains.mean(axis=1)[0] > 3 > 1 > gains.mean(axis=1)[-1]"),
    "training": ("100", "assert first.steps + second.steps == whole.steps and second.tests[-1][1] < first.tests[0][1] - 0.3 and same"),
    "pytorch": ("100", "assert shares[-1] > 0.5 > 0.2 > shares[0] and tests[-1][1] < frequencies - 0.5 and difference < 1e-3 and furthest < 1e-4; "
                       "assert max(ratios[read]) > 1.5 and max(ratios[learn]) > 3"),
    "dna": ("90", "assert 'phage lambda' in lines[0] and len(own) > 2900, len(own); assert bits[0] > 2.2 and bits[-1] < 2.02, bits; assert set(own) <= set('ACGTN')"),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    """Runs a script in an empty folder as a program: what it printed, and its names."""

    def run_it(name: str, *arguments: str) -> Any:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out, names

    return run_it


def test_torch_loop(run: Any, tmp_path: Path) -> None:
    out, names = run("torch_loop.py", "--steps", "100")
    tests = [t for _, t in names["tests"]]
    assert tests[0] > 7 and tests[-1] < names["frequencies"] - 0.5 and sum(names["losses"][-10:]) / 10 < names["frequencies"] - 0.5
    assert len(names["sample"]) > 50 and f"Holmes {names['sample']}" in out
    assert (tmp_path / "torch_loop.png").read_bytes().startswith(b"\x89PNG")


def test_transformers_speed(run: Any) -> None:
    pytest.importorskip("transformers")
    out, names = run("transformers_speed.py")
    assert max(names["errors"].values()) < 1e-4 and names["ratios"]["read"] > 1.5 and names["ratios"]["train"] > 3
    assert out.count("times as fast") == 2
    assert "mamba_ssm" not in sys.modules  # uninstalled again


def test_every_notebook_is_run() -> None:
    assert sorted(HOLDS) == sorted(p.stem for p in make_notebooks.FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", sorted(HOLDS))
def test_notebook(name: str, monkeypatch: Any) -> None:
    nbformat = pytest.importorskip("nbformat")
    for needed in ("nbclient", "ipykernel", "matplotlib", "transformers"):
        pytest.importorskip(needed)
    steps, holds = HOLDS[name]
    monkeypatch.setenv("KRAIT_EXAMPLE_STEPS", steps or "1")
    monkeypatch.delenv("KRAIT_DNA", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))  # the kernel is to find the same krait
    notebook = nbformat.read(make_notebooks.FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(holds))
    make_notebooks.execute(notebook, timeout=120)  # raises what a cell raises
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.get("name") == "stderr"], [o for o in outputs if o.get("name") == "stderr"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
