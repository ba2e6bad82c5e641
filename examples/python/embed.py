"""Hidden states as embeddings of texts: which sentences are near to which.

    python embed.py
"""
import numpy as np

import krait

SENTENCES = {
    "sea": ["The ship rolled in the heavy waves, and the sailors clung to the ropes.",
            "All hands hauled in the sails as the gale rose and the vessel heeled over.",
            "Our captain steered the boat towards the harbour, where other ships lay at anchor.",
            "The tide was out, and the fishermen mended their nets on the beach."],
    "love": ["She loved him with all her heart, and would have no other husband.",
             "He asked her to marry him, and she blushed and gave him her hand.",
             "They were engaged to be married in the spring, and were very happy.",
             "Her lover kissed her tenderly, and swore that he would never leave her."],
    "war": ["The soldiers fired their guns at the enemy from behind the wall.",
            "The regiment charged with the bayonet, and the battle was lost.",
            "The general ordered the troops to attack the fort at daybreak.",
            "The wounded men were carried from the field while the cannon roared."],
    "food": ["Dinner was served, with red wine and a great piece of roast beef.",
             "The cook brought bread and cheese to the table, and a jug of beer.",
             "We drank our tea by the fire and ate some buttered toast and cake.",
             "There was a cold pie for supper, with potatoes and a glass of sherry."],
}


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
