"""krait: Mamba, the selective state space model, on the CPU.

    import krait
    model = krait.Model.load()                       # the bundled one; or a folder, a file, OWNER/NAME on the hub
    print(model.generate("It was a dark and stormy night, and the", max_tokens=40))
"""
from ._library import build_info, version

__version__ = version()
__all__ = ["__version__", "build_info"]
