"""Text from the model that comes with krait: whole, piece by piece, until a stop string, many at a time.

    python generate.py ["The beginning of a text"]
"""
import math
import sys

import krait

prompt = " ".join(sys.argv[1:]) or "It was a dark and stormy night, and the"
model = krait.Model.load()  # or the path of a folder, a GGUF or weights file, or "state-spaces/mamba-130m-hf"
print(model)

print("\n== whole")
whole = model.generate(prompt, max_tokens=40, top_p=0.95, seed=1)
print(f"{prompt}{whole}\n({len(whole.ids)} tokens behind {whole.n_prompt}, ended by {whole.finish})")

print("\n== piece by piece: the same seed, so the same text")
pieces = []
for piece in model.stream(prompt, max_tokens=40, top_p=0.95, seed=1):
    pieces.append(piece.text)
    print(piece.text, end="", flush=True)  # a program with a window would show it here
print("\n(the same)" if "".join(pieces) == whole.text else "\n(NOT the same)")

print("\n== until the sentence ends")
sentence = model.generate(prompt, max_tokens=200, top_p=0.95, seed=2, stop=[". ", ".\n", '."'])
print(f"{prompt}{sentence}{(sentence.stop or '').strip()}\n(ended by {sentence.finish}, {sentence.stop!r})")

print("\n== many at a time, each as it would come alone")
beginnings = ["The inspector", "My dear sister", "The ship", "At the foot of the hill"]
texts = model.generate_batch(beginnings, max_tokens=16, top_p=0.95, seed=3)
for beginning, text in zip(beginnings, texts):
    print("-", " ".join((beginning + text.text).split()))

print("\n== how probable each token was")
greedy = model.generate("He sat down by the", max_tokens=6, temperature=0, logprobs=True)
for id, logprob in zip(greedy.ids, greedy.logprobs or []):
    print(f"{model.tokenizer.decode([id])!r:>12} {100 * math.exp(logprob):5.1f} %")
