"""Hidden states as embeddings of texts: which sentences are near to which.

    python embed.py
"""
import json
from pathlib import Path

import numpy as np

import krait

SENTENCES = json.loads((Path(__file__).parent / "data" / "topics.json").read_text("utf-8"))  # four of each of four topics


def embed(model: krait.Model, text: str) -> np.ndarray:
    """A vector of length 1: the residual stream behind a layer past the middle, mean over the tokens."""
    layer = model.config.n_layer * 5 // 8
    vector = model.hidden(text, layers=[layer])[0].mean(axis=0)
    return vector / np.linalg.norm(vector)


model = krait.Model.load()
texts = [text for group in SENTENCES.values() for text in group]
topics = [topic for topic, group in SENTENCES.items() for _ in group]
vectors = np.stack([embed(model, text) for text in texts])  # [16, d_model]
cosines = vectors @ vectors.T

right = 0
for i, text in enumerate(texts):
    others = np.where(np.arange(len(texts)) == i, -1, cosines[i])
    nearest = int(others.argmax())
    right += topics[nearest] == topics[i]
    print(f"{topics[i]:>5}: {text}\n{topics[nearest]:>5}: {texts[nearest]}   cosine {cosines[i, nearest]:.2f}\n")
chance = (len(SENTENCES["sea"]) - 1) / (len(texts) - 1)
print(f"nearest is of the same topic: {right} of {len(texts)}; by chance it would be {chance * len(texts):.1f}")

query = "The boy was hungry, and begged for a slice of bread."
order = (vectors @ embed(model, query)).argsort()[::-1]
print(f"\nnearest to {query!r}:")
for i in order[:3]:
    print(f"  {vectors[i] @ embed(model, query):.2f}  {texts[i]}")
