# %% [markdown]
# # A tour of krait
#
# A Mamba reads a text once, from left to right, and remembers it in a state of fixed size. This notebook lets the small model that comes with krait write,
# asks it how surprised it is, uses what it thinks as an embedding, and takes a state apart from its text. It needs krait, numpy and matplotlib.

# %%
import json
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import krait

model = krait.Model.load()  # or a folder, a GGUF file, "state-spaces/mamba-130m-hf"
print(model)
print(model.config)

# %% [markdown]
# ## It writes
#
# It has read English novels and knows nothing else. The same seed gives the same text, whole or piece by piece.

# %%
prompt = "It was a dark and stormy night, and the"
text = model.generate(prompt, max_tokens=60, top_p=0.95, seed=1)
print(prompt + str(text))
assert "".join(piece.text for piece in model.stream(prompt, max_tokens=60, top_p=0.95, seed=1)) == str(text)

# %%
for beginning, text in zip(["The inspector", "My dear sister", "The ship"],
                           model.generate_batch(["The inspector", "My dear sister", "The ship"], max_tokens=200, seed=5, top_p=0.95, stop=".")):
    print("-", " ".join((beginning + text.text + (text.stop or "")).split()))

# %% [markdown]
# ## It is surprised
#
# `score` says how probable a text is, and each token of it behind those before. How many bits a token needs is how surprising it was. The sentence is from *The Hound
# of the Baskervilles*, which it has not read.

# %%
sentence = "Mr. Holmes, they were the footprints of a gigantic hound!"
ids = model.tokenizer.encode(sentence)
bits = -np.array(model.score(sentence).logprobs) / np.log(2)  # of each token behind the first
pieces = [model.tokenizer.decode([i]) for i in ids[1:]]

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.bar(range(len(bits)), bits)
axes.axhline(np.log2(model.config.vocab_size), color="gray", ls="--", lw=1)
axes.text(len(bits) - 0.5, np.log2(model.config.vocab_size), "all tokens alike", ha="right", va="bottom", color="gray")
axes.set_xticks(range(len(bits)), [p.replace(" ", "·") for p in pieces], rotation=50, ha="right", rotation_mode="anchor")
axes.set_ylabel("surprise [bits]")
axes.set_ylim(0, 14)
plt.show()
print(f"{bits.sum() / len(sentence):.2f} bits per character")

# %% [markdown]
# ## What it thinks is an embedding
#
# `hidden` has the residual stream behind every layer. Its mean over the tokens of a sentence is a vector that is near to those of sentences about the same things,
# although nobody has trained it for that, and nearer than the mean of the tokens' embeddings (layer 0).

# %%
topics = json.loads(Path("../data/topics.json").read_text("utf-8"))  # four sentences of each
texts = [t for group in topics.values() for t in group]
labels = np.array([name for name, group in topics.items() for _ in group])


def embed(layer):
    vectors = np.stack([model.hidden(t, layers=[layer])[0].mean(axis=0) for t in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def right(vectors):
    """How many sentences have one of their topic nearest."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return int((labels[cosines.argmax(axis=1)] == labels).sum())


by_layer = [right(embed(layer)) for layer in range(model.config.n_layer + 1)]
vectors = embed(5)
centred = vectors - vectors.mean(axis=0)
plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T  # its two principal components

figure, (left, middle, last) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
image = left.imshow(vectors @ vectors.T, cmap="viridis")
figure.colorbar(image, ax=left, label="cosine", shrink=0.8)
left.set_xticks([1.5, 5.5, 9.5, 13.5], topics)
left.set_yticks([1.5, 5.5, 9.5, 13.5], topics)
left.set_title("each sentence beside each")
for name in topics:
    middle.scatter(*plane[labels == name].T, label=name, s=45)
middle.legend()
middle.set_xlabel("first principal component")
middle.set_ylabel("second principal component")
middle.set_title("the same in a plane")
last.bar(range(len(by_layer)), by_layer)
last.axhline(16 * 3 / 15, color="gray", ls="--", lw=1, label="by chance")
last.set_xlabel("layer (0: the embedding of tokens)")
last.set_ylabel("nearest is of the same topic, of 16")
last.set_xticks(range(len(by_layer)))
last.set_ylim(0, 16)
last.legend()
plt.show()
print(f"layer 5: {by_layer[5]} of 16")

# %% [markdown]
# ## A state is a value
#
# All that is remembered of a text can be copied, kept and taken up again. Here two chapters are read once, and continued in three ways.

# %%
story = Path("../data/hound.txt").read_text("utf-8")
ids = model.tokenizer.encode(story)
state = model.state()
model.run(ids, state)
print(f"{state.tokens:,} tokens are remembered in {state.nbytes:,} bytes\n\n... {story[-59:].strip()}\n")
for seed in (1, 2, 3):
    print(f"{seed}:", " ".join(model.generate(state=state.clone(), max_tokens=30, top_p=0.9, seed=seed).text.split()), "...")

# %% [markdown]
# Going on from a state costs nothing of what was read before: the next token behind a prompt that is read takes longer the longer the prompt is, behind a
# state that is loaded from a file it always takes the same.

# %%
lengths, read, loaded = [32, 128, 512, 2048, 8192], [], []


def seconds(work, rounds):
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


with tempfile.TemporaryDirectory() as folder:
    for n in lengths:
        state.reset()
        model.run(ids[:n], state)
        state.save(f"{folder}/{n}.state")
        read.append(seconds(lambda: model.generate(ids[:n], max_tokens=1), 2))
        loaded.append(seconds(lambda: model.generate(state=krait.State.load(model, f"{folder}/{n}.state"), max_tokens=1), 30))

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.loglog(lengths, np.array(read) / loaded[0], "o-", label="the prompt is read")
axes.loglog(lengths, np.array(loaded) / loaded[0], "s-", label="its state is loaded")
axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
axes.minorticks_off()
axes.set_xlabel("length of the prompt [tokens]")
axes.set_ylabel("time to the next token\n[1: from the shortest one's state]")
axes.grid(alpha=0.3)
axes.legend()
plt.show()
