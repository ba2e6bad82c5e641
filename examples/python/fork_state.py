"""Reads a beginning once, goes on from its state in different ways, and keeps it in a file.

    python fork_state.py
"""
import tempfile
import time
from pathlib import Path

import krait

LENGTHS = [64, 256, 1024, 4096]

model = krait.Model.load()
story = (Path(__file__).parent / "data" / "hound.txt").read_text("utf-8")

# One reading, three continuations.
state = model.state()
model.run(story, state)
print(f"{state.tokens:,} tokens read; what is remembered of them takes {state.nbytes:,} bytes")
endings = []
for seed in (1, 2, 3):
    copy = state.clone()  # a state is a value: the first one stays where it is
    endings.append(model.generate(state=copy, max_tokens=30, top_p=0.9, seed=seed).text)
    print(f"\nseed {seed}: {' '.join(endings[-1].split())}")

with tempfile.TemporaryDirectory() as folder:
    # The same from a file, in this process or in another.
    file = Path(folder) / "hound.state"
    state.save(file)
    again = model.generate(state=krait.State.load(model, file), max_tokens=30, top_p=0.9, seed=1).text
    print(f"\nfrom the file: {'the same as seed 1' if again == endings[0] else 'NOT the same as seed 1'}")

    # What the next token costs behind a prompt that is read, and behind one whose state is loaded.
    def seconds(work, rounds=20):
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
        return min(times)

    ids = model.tokenizer.encode(story)
    read, loaded, sizes = [], [], []
    for n in LENGTHS:
        state.reset()
        model.run(ids[:n], state)
        state.save(file)
        sizes.append(file.stat().st_size)
        read.append(seconds(lambda: model.generate(ids[:n], max_tokens=1), rounds=2))
        loaded.append(seconds(lambda: model.generate(state=krait.State.load(model, file), max_tokens=1)))

print("\ntokens of prompt   file of the state   to the next token, reading the prompt : from the file")
for n, size, a, b in zip(LENGTHS, sizes, read, loaded):
    print(f"{n:>16,} {size:>13,} bytes {a / b:>20.1f} : 1")

try:
    import matplotlib
except ImportError:
    print("\n(no plot: matplotlib is not installed)")
else:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axes.loglog(LENGTHS, [t / loaded[0] for t in read], "o-", label="the prompt is read")
    axes.loglog(LENGTHS, [t / loaded[0] for t in loaded], "s-", label="its state is loaded from a file")
    axes.set_xlabel("length of the prompt [tokens]")
    axes.set_ylabel(f"time to the next token\n[of the state's at {LENGTHS[0]} tokens]")
    axes.set_xticks(LENGTHS, [f"{n:,}" for n in LENGTHS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig("fork_state.png", dpi=120)
    print("\nplot: fork_state.png")
