"""What the tests of the Python package share. Run from the repository with the library built: python -m pytest tests/python"""
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data"
TEXT_SMALL = ROOT / "models" / "text-small"
MODELS = ["tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon"]

if "KRAIT_LIBRARY" in os.environ:  # for processes in other folders
    os.environ["KRAIT_LIBRARY"] = os.path.abspath(os.environ["KRAIT_LIBRARY"])
if "krait" not in sys.modules:
    try:
        import krait  # noqa: F401 - one that is installed, or on PYTHONPATH, is what is tested
    except ImportError:
        sys.path.insert(0, str(ROOT / "python"))


def read_safetensors(path: Path) -> Dict[str, Any]:
    """Every tensor of a file, read without the library that is tested."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    types = {"F32": np.float32, "I64": np.int64, "I32": np.int32, "F16": np.float16}
    tensors = {}
    for name, info in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            tensors[name] = np.frombuffer(data[8 + length + begin : 8 + length + end], types[info["dtype"]]).reshape(info["shape"])
    return tensors


def assert_close(found: Any, expected: Any, bound: float, what: str = "") -> None:
    """Within `bound` of the largest magnitude expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    error, scale = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    assert error <= bound * scale, f"{what}: off by {error / scale:.2e} of the largest, allowed {bound:.0e}"


@pytest.fixture(params=MODELS)
def reference(request: Any) -> Any:
    """(path of a small model, what was computed for it in float64)"""
    folder = DATA / "models" / request.param
    return folder, read_safetensors(folder / "expected.safetensors")


@pytest.fixture(scope="session")
def text_model() -> Any:
    import krait

    with krait.Model.load(TEXT_SMALL, threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def tiny() -> Any:
    import krait

    with krait.Model.load(DATA / "models" / "tiny", threads=1) as model:
        yield model
