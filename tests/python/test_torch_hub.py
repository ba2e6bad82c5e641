"""The program and huggingface_hub, which transformers brings, share a cache: each finds what the other has downloaded, from tests/hub_server.py."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
from conftest import DATA, ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = Path(os.environ.get("KRAIT_LIBRARY", ROOT / "build" / "release" / "libkrait.so.0")).resolve().parent / "krait"

pytest.importorskip("huggingface_hub")


class Hub:
    """A server and a cache, both empty at first."""

    def __init__(self, folder: Path) -> None:
        self.served, self.home = folder / "served", folder / "home"
        (self.served / "acme").mkdir(parents=True)
        for name in ("tiny", "bf16-sharded"):
            shutil.copytree(DATA / "models" / name, self.served / "acme" / name)
        self.server = subprocess.Popen([sys.executable, str(ROOT / "tests" / "hub_server.py"), str(self.served)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        assert self.server.stdout
        port = self.server.stdout.readline().split()[0]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        self.environment: Dict[str, str] = {**kept, "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(self.home), "no_proxy": "*",
                                            "NO_PROXY": "*", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def run(self, *command: str, **variables: str) -> str:
        done = subprocess.run(command, env={**self.environment, **variables}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def krait(self, *arguments: str, **variables: str) -> str:
        return self.run(str(PROGRAM), *arguments, **variables)

    def python(self, code: str, **variables: str) -> Any:
        """What the last line of the output is in JSON."""
        return json.loads(self.run(sys.executable, "-c", "import json, huggingface_hub as hub\n" + code, **variables).splitlines()[-1])

    def requests(self, *words: str) -> int:
        return sum(all(word in line for word in words) for line in (self.served / "log").read_text().splitlines())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    yield made
    assert made.server.stdin and made.server.stdout
    made.server.stdin.close()
    made.server.wait(timeout=60)
    made.server.stdout.close()


SCAN = """
found = hub.scan_cache_dir()
assert not found.warnings, found.warnings
print(json.dumps({repo.repo_id: {"size": repo.size_on_disk, "refs": sorted(repo.refs), "files": sorted(
    file.file_name for revision in repo.revisions for file in revision.files)} for repo in found.repos}))
"""


def test_python_finds_what_krait_pulled(hub: Hub) -> None:
    path = hub.krait("pull", "acme/tiny")
    hub.krait("pull", "acme/bf16-sharded@refs/pr/1")
    found = hub.python(SCAN)
    assert found["acme/tiny"]["refs"] == ["main"] and found["acme/tiny"]["files"] == ["config.json", "model.safetensors"]
    assert found["acme/tiny"]["size"] == sum((DATA / "models" / "tiny" / name).stat().st_size for name in ("config.json", "model.safetensors"))
    assert found["acme/bf16-sharded"]["refs"] == ["refs/pr/1"]
    assert [name for name in found["acme/bf16-sharded"]["files"] if name.endswith(".safetensors")] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    offline = hub.python('print(json.dumps(hub.hf_hub_download("acme/tiny", "model.safetensors")))', HF_HUB_OFFLINE="1")
    assert offline == f"{path}/model.safetensors"
    before = hub.requests("tiny")
    online = hub.python('print(json.dumps(hub.hf_hub_download("acme/tiny", "model.safetensors")))')
    assert online == offline and hub.requests("cdn", "tiny", "model.safetensors") == 1 and hub.requests("tiny") <= before + 1


def test_krait_finds_what_python_downloaded(hub: Hub) -> None:
    for name in ("tiny", "bf16-sharded"):
        path = hub.python(f'print(json.dumps(hub.snapshot_download("acme/{name}", ignore_patterns=["expected*"])))')
        before = hub.requests("")
        assert hub.krait("pull", f"acme/{name}", HF_HUB_OFFLINE="1") == path
        text = hub.krait("run", "-m", f"acme/{name}", "--ids", "1,2,3", "-n", "8", "--greedy")
        assert text == hub.krait("run", "-m", str(DATA / "models" / name), "--ids", "1,2,3", "-n", "8", "--greedy")
        assert hub.requests("") == before
    models = json.loads(hub.krait("list", "--json"))
    assert [(m["name"], m["revision"], m["commit"], m["complete"]) for m in models] == [
        ("acme/bf16-sharded", "main", COMMIT, True), ("acme/tiny", "main", COMMIT, True)]
    hub.krait("rm", "acme/tiny")
    assert list(hub.python(SCAN)) == ["acme/bf16-sharded"]


def test_a_half_of_one_is_finished_by_the_other(hub: Hub) -> None:
    hub.python('print(json.dumps(hub.hf_hub_download("acme/bf16-sharded", "model-00001-of-00002.safetensors")))')
    assert json.loads(hub.krait("list", "--json"))[0]["complete"] is False
    hub.krait("pull", "acme/bf16-sharded")
    assert hub.requests("cdn", "model-00001") == 1 and hub.requests("cdn", "model-00002") == 1
    hub.krait("pull", "acme/tiny")
    hub.python('print(json.dumps(hub.snapshot_download("acme/tiny")))')
    assert hub.requests("cdn", "tiny", "model.safetensors") == 1 and hub.requests("cdn", "expected.safetensors") == 1


def test_a_download_is_waited_for(hub: Hub) -> None:
    (hub.served / "faults").write_text("slow-0.2 1 cdn\n")
    code = 'import huggingface_hub as hub\nhub.hf_hub_download("acme/tiny", "model.safetensors")'
    with subprocess.Popen([sys.executable, "-c", code], env=hub.environment) as python:
        log = hub.served / "log"
        while not (log.exists() and hub.requests("cdn", "model.safetensors")):
            assert python.poll() is None, "it ended before it began"
        removing = subprocess.run([str(PROGRAM), "rm", "acme/tiny"], env=hub.environment, capture_output=True, text=True)
        assert removing.returncode == 1 and "another process is downloading it" in removing.stderr
        hub.krait("pull", "acme/tiny")
    assert python.returncode == 0 and hub.requests("cdn", "model.safetensors") == 1
