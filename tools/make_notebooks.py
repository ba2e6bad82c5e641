#!/usr/bin/env python3
"""Makes examples/python/notebooks/NAME.ipynb of NAME.py beside it, with what its cells gave when they ran. Needs nbformat, nbclient, ipykernel, matplotlib, and
krait and torch for the cells; `make test-torch` installs them:

    PYTHONPATH=python KRAIT_LIBRARY=$PWD/build/release/libkrait.so.0 build/torch-env/bin/python tools/make_notebooks.py [NAME...]

A script is cells: "# %%" begins one of code, "# %% [markdown]" one of text, whose lines are comments.
"""
import base64
import hashlib
import io
import re
import sys
from pathlib import Path
from typing import Any, List, Tuple

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "python" / "notebooks"


def cells_of(script: str) -> List[Tuple[str, str]]:
    """(type, source) of each cell."""
    cells = []
    for part in re.split(r"^# %%", script, flags=re.M)[1:]:
        kind, _, body = part.partition("\n")
        body = body.strip("\n")
        if kind.strip() == "[markdown]":
            cells.append(("markdown", "\n".join(line[2:] if line.startswith("# ") else line.lstrip("#") for line in body.split("\n"))))
        else:
            cells.append(("code", body))
    return cells


def code_digest(code: List[str]) -> str:
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def notebook_of(script: str) -> Any:
    import nbformat

    made = nbformat.v4.new_notebook()
    for i, (kind, source) in enumerate(cells_of(script)):
        cell = nbformat.v4.new_code_cell(source) if kind == "code" else nbformat.v4.new_markdown_cell(source)
        cell["id"] = f"cell-{i}"  # the same every time
        made.cells.append(cell)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def execute(notebook: Any, timeout: int = 600) -> None:
    """In a fresh kernel, in the folder of the notebooks."""
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}).execute()


def smaller(image: str) -> str:
    """A PNG in base64 with a palette of 256 colours: a plot looks the same in a third of the bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main() -> None:
    import nbformat

    for name in sys.argv[1:] or sorted(p.stem for p in FOLDER.glob("*.py")):
        notebook = notebook_of((FOLDER / f"{name}.py").read_text("utf-8"))
        execute(notebook)
        code = [c for c in notebook.cells if c.cell_type == "code"]
        for cell in code:
            cell.metadata.clear()  # of when it ran
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = smaller(output.data["image/png"])
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"},
                             "krait": {"ran": code_digest([c.source for c in code])}}
        path = FOLDER / f"{name}.ipynb"
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
