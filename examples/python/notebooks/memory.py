# %% [markdown]
# # What a state remembers
#
# A transformer keeps every token that it has read. A Mamba has a state of fixed size, in which the new overwrites the old: each number in it decays by a
# factor that the model chooses at every token. How long does something stay? Two experiments with the small model that comes with krait, and a look at its
# parameters. They need krait, numpy and matplotlib.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import krait

model = krait.Model.load()
layers = range(model.config.n_layer)
story = Path("../data/hound.txt").read_text("utf-8")
filler = model.tokenizer.encode(story[2000:])

# %% [markdown]
# ## How two pasts become one
#
# Two states read different sentences and then the same text. If the past did not matter, they would be the same. `tensors()` gives what is in them.

# %%
one, other = model.state(), model.state()
model.run("The old man was very happy.", one)
model.run("The young girl was so sad.", other)
print({name: tensor.shape for name, tensor in one.tensors().items() if ".0" in name or "." not in name})

distances, apart, at = [2**i for i in range(12)], [], 0
for n in distances:
    for state in (one, other):
        model.run(filler[at:n], state)
    at = n
    a, b = one.tensors(), other.tensors()
    apart.append([np.linalg.norm(a[f"ssm_state.{i}"] - b[f"ssm_state.{i}"]) / np.linalg.norm(b[f"ssm_state.{i}"]) for i in layers])
apart = np.array(apart)

figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
for i in layers:
    axes.loglog(distances, apart[:, i], "o-", ms=3, color=plt.cm.viridis(i / len(layers)), label=f"layer {i + 1}")
axes.set_xlabel("tokens read alike since then")
axes.set_ylabel("difference of the two states\n[of their size]")
axes.set_xticks(distances[::2], [f"{n:,}" for n in distances[::2]])
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend(ncols=2, fontsize=8)
plt.show()
print(f"after {distances[-1]:,} tokens the first layer's states differ by {apart[-1, 0]:.0e}, the last one's by {apart[-1, -1]:.0e}")

# %% [markdown]
# The first layers forget fast, the last ones slowly, and none at once: the difference falls about as a power of the distance, not by a fixed factor with each token,
# because there are numbers of many time scales in a state.
#
# ## Does it help?
#
# A name is said twice, then comes a text of other things, then `"Very well," said`, and we ask how many bits cheaper the name is than if another one had been
# said. `score` gives the log-likelihood of a text behind a context.

# %%
names = ["Margaret", "Henry", "Edward", "Charles", "Elizabeth", "Richard"]
gaps, gains = [0, 16, 64, 128, 256, 512, 1024, 2048], []


def nats(name, said, gap):
    before = model.tokenizer.encode(f'"I am going to London," said {said}. "It is late," said {said}. ')
    behind = model.tokenizer.encode('\n\n"Very well," said')
    return model.score(f" {name}", context=np.concatenate([before, filler[:gap], behind])).logprob


for gap in gaps:
    gains.append([(nats(name, name, gap) - nats(name, names[i - 1], gap)) / np.log(2) for i, name in enumerate(names)])
gains = np.array(gains)

figure, axes = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
places = np.arange(len(gaps))
for i, name in enumerate(names):
    axes.plot(places, gains[:, i], lw=1, alpha=0.6, label=name)
axes.plot(places, gains.mean(axis=1), "ko-", lw=2, label="mean")
axes.axhline(0, color="gray", lw=0.8)
axes.set_xticks(places, [f"{n:,}" for n in gaps])
axes.set_xlabel("tokens between the name and the question")
axes.set_ylabel("what having heard it is worth\n[bits]")
axes.grid(alpha=0.3)
axes.legend(ncols=2, fontsize=8)
plt.show()
print("mean gain in bits:", {gap: round(float(g), 2) for gap, g in zip(gaps, gains.mean(axis=1))})

# %% [markdown]
# ## Where the time scales come from
#
# In each channel, the number `j` of the state decays by $e^{\Delta A_j}$ at each token, where $\Delta = \mathrm{softplus}(\ldots + \mathrm{bias})$ depends on
# the input. With the bias alone, the memory of a channel fades to $1/e$ within $1 / (\Delta |A_j|)$ tokens. A trainer shows a model's parameters.

# %%
trainer = krait.Trainer(model=krait.bundled_model())
times = []
for i in layers:
    name = f"backbone.layers.{i}.mixer."
    delta = np.log1p(np.exp(trainer.parameter(name + "dt_proj.bias")))  # [d_inner]
    times.append(np.ravel(1 / (delta[:, None] * np.exp(trainer.parameter(name + "A_log")))))  # of [d_inner, d_state]

figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
axes.boxplot(times, whis=(1, 99), showfliers=False, tick_labels=[str(i + 1) for i in layers], medianprops={"color": "tab:orange"})
axes.set_yscale("log")
axes.set_xlabel("layer (box: the middle half; whiskers: 98 % of the numbers in its state)")
axes.set_ylabel("memory [tokens]")
axes.grid(alpha=0.3, axis="y")
plt.show()
print("median of each layer, in tokens:", [round(float(np.median(t)), 1) for t in times])
