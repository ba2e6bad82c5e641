#!/usr/bin/env python3
"""Makes the reference vectors in this folder, in float64, from the equations of Mamba (docs/ARCHITECTURE.md).

    pip install torch transformers safetensors numpy
    python3 make_reference.py OUT_DIR [--seed 0] [--check]

--check also runs every Mamba-1 checkpoint through transformers' MambaForCausalLM in float32 and prints the largest difference.
Everything is written as float32 (integers as int64) after being computed in float64, so an implementation in float32
should meet it within a few float32 roundings per reduction.
"""
import argparse, json, math, os
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)


def out32(tensors):
    d = {}
    for k, t in tensors.items():
        t = t.detach()
        if t.is_complex():
            t = torch.view_as_real(t)
        d[k] = (t.float() if t.is_floating_point() else t).contiguous()
    return d


# ---------------------------------------------------------------- operations
def selective_scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, h0=None):
    """u, delta, z [b, d, l]; A [d, n], real or complex; B, C [d, n], [b, n, l] or [b, g, n, l]; h0 [b, d, n].
    Returns out [b, d, l] and the last state [b, d, n]."""
    b, d, l = u.shape
    n = A.shape[1]
    if delta_bias is not None:
        delta = delta + delta_bias[None, :, None]
    if delta_softplus:
        delta = F.softplus(delta, threshold=1e9)

    def per_channel(M):  # -> [b, d, n, l]
        if M.dim() == 2:
            return M[None, :, :, None].expand(b, d, n, l)
        if M.dim() == 3:
            return M[:, None].expand(b, d, n, l)
        return M.repeat_interleave(d // M.shape[1], dim=1)

    Bf, Cf = per_channel(B), per_channel(C)
    h = torch.zeros(b, d, n, dtype=A.dtype) if h0 is None else h0
    ys = []
    for t in range(l):
        dt = delta[:, :, t, None]
        h = torch.exp(dt * A) * h + dt * Bf[..., t] * u[:, :, t, None]
        y = (h * Cf[..., t]).sum(-1)
        ys.append(2 * y.real if A.is_complex() else y)
    y = torch.stack(ys, -1) if l else u.new_zeros(b, d, 0)
    if D is not None:
        y = y + D[None, :, None] * u
    if z is not None:
        y = y * F.silu(z)
    return y, h


def causal_conv1d(x, weight, bias=None, initial=None, silu=False):
    """x [b, d, l]; weight [d, w]; initial [b, d, w-1], oldest first. Returns y and the last w-1 inputs."""
    b, d, l = x.shape
    w = weight.shape[1]
    pad = torch.zeros(b, d, w - 1) if initial is None else initial
    xx = torch.cat([pad, x], -1)
    y = F.conv1d(xx, weight[:, None], bias, groups=d)
    return (F.silu(y) if silu else y), xx[..., xx.shape[-1] - (w - 1):]


def rms_norm(x, weight, eps):
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return x if weight is None else x * weight


def r(*shape, scale=1.0, shift=0.0):
    return torch.randn(*shape) * scale + shift


def make_ops():
    """One file a family. A case is a set of tensors `case/name`; gradients are `case/grad.name` for the loss
    sum(out * dout) + sum(last_state * dlast)."""
    scan, meta = {}, {}
    cases = [  # name, b, d, l, n, B kind, C kind, D, z, bias, softplus, h0, complex
        ("plain", 2, 13, 19, 16, "bnl", "bnl", 1, 1, 1, 1, 0, 0),
        ("one_token", 2, 64, 1, 16, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("initial_state", 2, 24, 65, 16, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("longer", 1, 48, 129, 16, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("no_d", 1, 8, 33, 16, "bnl", "bnl", 0, 1, 1, 1, 0, 0),
        ("no_z", 1, 8, 33, 16, "bnl", "bnl", 1, 0, 1, 1, 0, 0),
        ("no_bias_no_softplus", 1, 8, 33, 16, "bnl", "bnl", 1, 1, 0, 0, 0, 0),
        ("bare", 2, 5, 17, 4, "bnl", "bnl", 0, 0, 0, 0, 0, 0),
        ("n1", 2, 9, 21, 1, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("n7", 2, 17, 23, 7, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("n8", 2, 17, 23, 8, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("n64", 1, 6, 40, 64, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("n128", 1, 3, 12, 128, "bnl", "bnl", 1, 1, 1, 1, 1, 0),
        ("groups2", 2, 12, 31, 16, "bgnl", "bgnl", 1, 1, 1, 1, 1, 0),
        ("fixed_b", 2, 10, 21, 8, "dn", "bnl", 1, 1, 1, 1, 0, 0),
        ("fixed_c", 2, 10, 21, 8, "bnl", "dn", 1, 1, 1, 1, 0, 0),
        ("fixed_both", 2, 10, 21, 8, "dn", "dn", 1, 1, 1, 1, 1, 0),
        ("complex", 2, 10, 21, 8, "bnl", "bnl", 1, 1, 1, 1, 0, 1),
        ("complex_state", 2, 10, 21, 8, "bnl", "bnl", 1, 0, 1, 1, 1, 1),
        ("complex_groups", 1, 8, 19, 8, "bgnl", "bgnl", 1, 1, 1, 1, 0, 1),
        ("complex_fixed", 2, 6, 15, 4, "dn", "dn", 1, 1, 1, 1, 0, 1),
    ]
    for name, b, d, l, n, kb, kc, hasD, hasz, hasb, sp, hash0, cplx in cases:
        def coef(kind):
            shape = {"dn": (d, n), "bnl": (b, n, l), "bgnl": (b, 2, n, l)}[kind]
            return torch.complex(r(*shape), r(*shape)) if cplx else r(*shape)
        A = -torch.rand(d, n) * 4 - 0.05
        if cplx:
            A = torch.complex(A, r(d, n, scale=3.0))
        i = dict(u=r(b, d, l), delta=r(b, d, l, scale=0.7, shift=-1.0 if sp else 0.0), A=A, B=coef(kb), C=coef(kc))
        if not sp:
            i["delta"] = i["delta"].abs() * 0.3
        if hasD: i["D"] = r(d)
        if hasz: i["z"] = r(b, d, l)
        if hasb: i["delta_bias"] = r(d, scale=0.5)
        if hash0:
            i["h0"] = torch.complex(r(b, d, n), r(b, d, n)) if cplx else r(b, d, n)
        for t in i.values(): t.requires_grad_(True)
        out, last = selective_scan(**i, delta_softplus=bool(sp))
        dout, dlast = r(*out.shape), (torch.complex(r(b, d, n), r(b, d, n)) if cplx else r(b, d, n))
        ((out * dout).sum() + (last * dlast.conj()).real.sum()).backward()
        for k, t in i.items():
            scan[f"{name}/{k}"] = t
            scan[f"{name}/grad.{k}"] = t.grad  # complex: dL/dRe + i dL/dIm, PyTorch's convention
        scan.update({f"{name}/out": out, f"{name}/last_state": last, f"{name}/dout": dout, f"{name}/dlast": dlast})
        meta[name] = json.dumps(dict(batch=b, dim=d, seqlen=l, dstate=n, delta_softplus=bool(sp), complex=bool(cplx)))

    # extreme values: decay to denormals, delta far in both tails of softplus, A = 0, large h0
    b, d, l, n = 1, 8, 50, 16
    i = dict(u=r(b, d, l), delta=torch.linspace(-90, 90, l).expand(b, d, l).clone(), A=-torch.logspace(-3, 3, d * n).view(d, n),
             B=r(b, n, l), C=r(b, n, l), D=r(d), z=torch.linspace(-100, 100, l).expand(b, d, l).clone(), delta_bias=r(d), h0=r(b, d, n, scale=1e6))
    i["A"][0] = 0
    out, last = selective_scan(**i, delta_softplus=True)
    for k, t in dict(i, out=out, last_state=last).items(): scan[f"extreme/{k}"] = t
    meta["extreme"] = json.dumps(dict(batch=b, dim=d, seqlen=l, dstate=n, delta_softplus=True, complex=False))

    conv, cmeta = {}, {}
    for name, b, d, l, w, hasb, silu, hasi in [
            ("w4", 2, 13, 19, 4, 1, 1, 0), ("w4_initial", 2, 13, 19, 4, 1, 1, 1), ("w3", 2, 16, 9, 3, 1, 0, 1), ("w2", 1, 33, 9, 2, 0, 1, 1),
            ("one_token", 2, 20, 1, 4, 1, 1, 1), ("shorter_than_width", 1, 20, 2, 4, 1, 1, 1), ("no_bias", 1, 64, 40, 4, 0, 0, 0)]:
        i = dict(x=r(b, d, l), weight=r(d, w, scale=0.5))
        if hasb: i["bias"] = r(d)
        if hasi: i["initial"] = r(b, d, w - 1)
        for t in i.values(): t.requires_grad_(True)
        out, last = causal_conv1d(**i, silu=bool(silu))
        dout, dlast = r(*out.shape), r(*last.shape)
        ((out * dout).sum() + (last * dlast).sum()).backward()
        for k, t in i.items():
            conv[f"{name}/{k}"] = t
            conv[f"{name}/grad.{k}"] = t.grad
        conv.update({f"{name}/out": out, f"{name}/last_state": last, f"{name}/dout": dout, f"{name}/dlast": dlast})
        cmeta[name] = json.dumps(dict(batch=b, dim=d, seqlen=l, width=w, silu=bool(silu)))

    norm, nmeta = {}, {}
    for name, rows, d, eps in [("d64", 5, 64, 1e-5), ("d7", 3, 7, 1e-5), ("d768", 4, 768, 1e-5), ("tiny_values", 3, 40, 1e-5), ("zeros", 2, 16, 1e-5)]:
        x = r(rows, d) * {"tiny_values": 1e-4, "zeros": 0.0}.get(name, 1.0)
        wt = r(d, shift=1.0)
        x.requires_grad_(True); wt.requires_grad_(True)
        out = rms_norm(x, wt, eps)
        dout = r(rows, d)
        (out * dout).sum().backward()
        norm.update({f"{name}/x": x, f"{name}/weight": wt, f"{name}/out": out, f"{name}/dout": dout, f"{name}/grad.x": x.grad, f"{name}/grad.weight": wt.grad})
        nmeta[name] = json.dumps(dict(rows=rows, dim=d, eps=eps))
    return dict(selective_scan=(scan, meta), causal_conv1d=(conv, cmeta), rms_norm=(norm, nmeta))


# ---------------------------------------------------------------- models
class Config:
    def __init__(self, **k):
        self.vocab_size, self.d_model, self.n_layer, self.d_state, self.expand, self.d_conv = 256, 64, 3, 16, 2, 4
        self.dt_rank, self.use_bias, self.use_conv_bias, self.eps, self.tied = None, False, True, 1e-5, True
        self.falcon_eps = None  # Falcon-Mamba: weightless RMSNorm on dt, B and C
        self.d_inner = None
        self.__dict__.update(k)
        self.d_inner = self.d_inner or self.expand * self.d_model
        self.dt_rank = self.dt_rank or math.ceil(self.d_model / 16)


def init_params(c):
    """Random, but alive: every vector that would start at 0 or 1 is moved, so that a forgotten one shows."""
    p = {"backbone.embeddings.weight": r(c.vocab_size, c.d_model, scale=0.7)}
    for i in range(c.n_layer):
        m = f"backbone.layers.{i}."
        p[m + "norm.weight"] = r(c.d_model, scale=0.2, shift=1.0)
        m += "mixer."
        p[m + "in_proj.weight"] = r(2 * c.d_inner, c.d_model, scale=c.d_model ** -0.5)
        p[m + "conv1d.weight"] = r(c.d_inner, 1, c.d_conv, scale=0.5)
        if c.use_conv_bias: p[m + "conv1d.bias"] = r(c.d_inner, scale=0.3)
        p[m + "x_proj.weight"] = r(c.dt_rank + 2 * c.d_state, c.d_inner, scale=c.d_inner ** -0.5)
        p[m + "dt_proj.weight"] = (torch.rand(c.d_inner, c.dt_rank) * 2 - 1) * c.dt_rank ** -0.5
        dt = torch.exp(torch.rand(c.d_inner) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3)).clamp(min=1e-4)
        p[m + "dt_proj.bias"] = dt + torch.log(-torch.expm1(-dt))
        p[m + "A_log"] = torch.log(torch.arange(1, c.d_state + 1).repeat(c.d_inner, 1).double()) + r(c.d_inner, c.d_state, scale=0.1)
        p[m + "D"] = r(c.d_inner, scale=0.3, shift=1.0)
        p[m + "out_proj.weight"] = r(c.d_model, c.d_inner, scale=c.d_inner ** -0.5)
        if c.use_bias:
            p[m + "in_proj.bias"] = r(2 * c.d_inner, scale=0.2)
            p[m + "out_proj.bias"] = r(c.d_model, scale=0.2)
    p["backbone.norm_f.weight"] = r(c.d_model, scale=0.2, shift=1.0)
    if not c.tied: p["lm_head.weight"] = r(c.vocab_size, c.d_model, scale=c.d_model ** -0.5)
    return p


def mamba_block(c, p, m, x, state=None):
    """x [b, l, d_model] after the norm -> out [b, l, d_model], (conv inputs [b, d_inner, d_conv-1], h [b, d_inner, d_state])."""
    conv0, h0 = state if state else (None, None)
    xz = F.linear(x, p[m + "in_proj.weight"], p.get(m + "in_proj.bias")).transpose(1, 2)
    xi, z = xz.chunk(2, dim=1)
    xi, conv = causal_conv1d(xi, p[m + "conv1d.weight"][:, 0], p.get(m + "conv1d.bias"), conv0, silu=True)
    dbc = F.linear(xi.transpose(1, 2), p[m + "x_proj.weight"])
    dt, B, C = torch.split(dbc, [c.dt_rank, c.d_state, c.d_state], dim=-1)
    if c.falcon_eps is not None:
        dt, B, C = (rms_norm(t, None, c.falcon_eps) for t in (dt, B, C))
    delta = F.linear(dt, p[m + "dt_proj.weight"]).transpose(1, 2)
    y, h = selective_scan(xi, delta, -torch.exp(p[m + "A_log"]), B.transpose(1, 2), C.transpose(1, 2), p[m + "D"], z,
                          p[m + "dt_proj.bias"], True, h0)
    return F.linear(y.transpose(1, 2), p[m + "out_proj.weight"], p.get(m + "out_proj.bias")), (conv, h)


def forward(c, p, ids, states=None):
    x = p["backbone.embeddings.weight"][ids]
    hidden, new = [x], []
    for i in range(c.n_layer):
        m = f"backbone.layers.{i}."
        y, s = mamba_block(c, p, m + "mixer.", rms_norm(x, p[m + "norm.weight"], c.eps), states[i] if states else None)
        x = x + y
        hidden.append(x); new.append(s)
    x = rms_norm(x, p["backbone.norm_f.weight"], c.eps)
    return F.linear(x, p["backbone.embeddings.weight"] if c.tied else p["lm_head.weight"]), hidden, new


def loss_of(logits, ids):
    return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


NO_DECAY = ("A_log", ".D", "bias", "norm.weight", "norm_f.weight")


def train_curve(c, p0, ids, steps=10, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, wd=0.1, clip=1.0):
    p = {k: v.detach().clone().requires_grad_(True) for k, v in p0.items()}
    decay = [v for k, v in p.items() if not k.endswith(NO_DECAY)]
    rest = [v for k, v in p.items() if k.endswith(NO_DECAY)]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=wd), dict(params=rest, weight_decay=0.0)], lr=lr, betas=betas, eps=eps)
    losses, norms = [], []
    for _ in range(steps):
        opt.zero_grad()
        loss = loss_of(forward(c, p, ids)[0], ids)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(p.values()), clip))
        opt.step()
        losses.append(loss.detach())
    return torch.stack(losses), torch.stack(norms), p


def hf_config(c):
    return {"architectures": ["MambaForCausalLM" if c.falcon_eps is None else "FalconMambaForCausalLM"],
            "model_type": "mamba" if c.falcon_eps is None else "falcon_mamba", "vocab_size": c.vocab_size, "hidden_size": c.d_model,
            "intermediate_size": c.d_inner, "num_hidden_layers": c.n_layer, "state_size": c.d_state, "expand": c.expand, "conv_kernel": c.d_conv,
            "time_step_rank": c.dt_rank, "use_bias": c.use_bias, "use_conv_bias": c.use_conv_bias, "layer_norm_epsilon": c.eps, "hidden_act": "silu",
            "residual_in_fp32": True, "tie_word_embeddings": c.tied, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
            **({} if c.falcon_eps is None else {"mixer_rms_eps": c.falcon_eps})}


def write_checkpoint(d, c, p, layout):
    os.makedirs(d, exist_ok=True)
    f32 = {k: v.detach().float().contiguous() for k, v in p.items()}
    if layout == "original":
        sd = {k.replace("embeddings", "embedding"): v for k, v in f32.items()}
        if c.tied: sd["lm_head.weight"] = sd["backbone.embedding.weight"]  # shares storage in the pickle, as the published files do
        torch.save(sd, os.path.join(d, "pytorch_model.bin"))
        conf = {"d_model": c.d_model, "n_layer": c.n_layer, "vocab_size": c.vocab_size - 3, "ssm_cfg": {}, "rms_norm": True,
                "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}
    else:
        conf = hf_config(c)
        if layout == "bf16-sharded":
            b16 = {k: v.bfloat16() if not k.endswith(("A_log", ".D")) else v for k, v in f32.items()}
            keys = sorted(b16); half = len(keys) // 2
            parts = {"model-00001-of-00002.safetensors": keys[:half], "model-00002-of-00002.safetensors": keys[half:]}
            for f, ks in parts.items(): save_file({k: b16[k] for k in ks}, os.path.join(d, f), metadata={"format": "pt"})
            json.dump({"metadata": {"total_size": sum(v.numel() * v.element_size() for v in b16.values())},
                       "weight_map": {k: f for f, ks in parts.items() for k in ks}}, open(os.path.join(d, "model.safetensors.index.json"), "w"), indent=1)
            p = {k: v.double() for k, v in b16.items()}
            conf["torch_dtype"] = "bfloat16"
        elif layout == "f16":
            f16 = {k: v.half() for k, v in f32.items()}
            save_file(f16, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
            p = {k: v.double() for k, v in f16.items()}
            conf["torch_dtype"] = "float16"
        else:
            save_file(f32, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
    json.dump(conf, open(os.path.join(d, "config.json"), "w"), indent=1)
    # what was written is what is computed with
    return p if layout in ("bf16-sharded", "f16") else {k: v.double() for k, v in f32.items()}


def greedy(c, p, prompt, n):
    with torch.no_grad():
        logits, _, st = forward(c, p, prompt)
        out = []
        for _ in range(n):
            nxt = logits[:, -1].argmax(-1)
            out.append(nxt)
            logits, _, st = forward(c, p, nxt[:, None], st)
    return torch.stack(out, 1)


def make_model(root, name, c, layout, check, train=True, seqlen=24, batch=2):
    d = os.path.join(root, name)
    p = write_checkpoint(d, c, init_params(c), layout)
    ids = torch.randint(0, c.vocab_size, (batch, seqlen))
    p = {k: v.detach().requires_grad_(True) for k, v in p.items()}
    logits, hidden, states = forward(c, p, ids)
    loss = loss_of(logits, ids)
    loss.backward()
    e = {"input_ids": ids, "logits": logits, "loss": loss.reshape(1)}
    for i, h in enumerate(hidden): e[f"hidden.{i}"] = h
    for i, (cs, h) in enumerate(states): e[f"conv_state.{i}"], e[f"ssm_state.{i}"] = cs, h
    for k, v in p.items(): e["grad." + k] = v.grad
    e["greedy"] = greedy(c, p, ids[:, :8], 32)
    if train:
        e["train.losses"], e["train.grad_norms"], after = train_curve(c, p, ids)
        for k in ("backbone.layers.0.mixer.A_log", "backbone.layers.0.mixer.in_proj.weight", "backbone.norm_f.weight"): e["train.after." + k] = after[k]
    save_file(out32(e), os.path.join(d, "expected.safetensors"))
    if check and layout != "original":
        from transformers import AutoModelForCausalLM
        m = AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32)
        torch.set_default_dtype(torch.float32)
        with torch.no_grad(): got = m(ids).logits
        torch.set_default_dtype(torch.float64)
        print(f"{name:16s} max |logits - transformers| = {(got.double() - logits).abs().max().item():.2e} of {logits.abs().max().item():.2f}")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("out"); a.add_argument("--seed", type=int, default=0); a.add_argument("--check", action="store_true")
    a = a.parse_args()
    torch.manual_seed(a.seed)
    os.makedirs(os.path.join(a.out, "ops"), exist_ok=True)
    for name, (t, meta) in make_ops().items():
        save_file(out32(t), os.path.join(a.out, "ops", name + ".safetensors"), metadata=meta)
    models = os.path.join(a.out, "models")
    make_model(models, "tiny", Config(), "hf", a.check)
    make_model(models, "odd", Config(d_model=40, d_state=7, d_conv=3, vocab_size=101, tied=False, use_conv_bias=False, use_bias=True, dt_rank=5, n_layer=2), "hf", a.check)
    make_model(models, "wide", Config(d_model=32, d_inner=96, expand=3, d_state=32, d_conv=2, vocab_size=64, n_layer=2), "hf", a.check, seqlen=70)
    make_model(models, "bf16-sharded", Config(d_model=48, n_layer=4, tied=False), "bf16-sharded", a.check, train=False)
    make_model(models, "f16", Config(d_model=48, n_layer=2), "f16", a.check, train=False)
    make_model(models, "original", Config(d_model=64, n_layer=3, vocab_size=256), "original", a.check)
    make_model(models, "falcon", Config(d_model=48, n_layer=3, falcon_eps=1e-6, tied=False, vocab_size=128), "hf", a.check)


if __name__ == "__main__":
    main()
