#!/usr/bin/env python3
"""Writes python/krait/_abi.py: the enums, structures and functions of include/krait/*.h for ctypes.

    tools/make_abi.py           writes it
    tools/make_abi.py --check   fails when it is not what the headers say (a test)

The headers are plain enough for regular expressions; what is not understood is an error, never passed over."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ["krait.h", "hub.h", "data.h", "train_row.h", "train.h", "training.h", "ops.h"]
TARGET = ROOT / "python" / "krait" / "_abi.py"

SCALARS = {
    "bool": "c_bool", "char": "c_char", "int": "c_int", "float": "c_float", "double": "c_double", "size_t": "c_size_t",
    "ptrdiff_t": "c_ssize_t", "int32_t": "c_int32", "int64_t": "c_int64", "uint64_t": "c_uint64", "uint32_t": "c_uint32",
    "uint16_t": "c_uint16", "uint8_t": "c_uint8",
}
# Bytes that are given with their length and may have a NUL in them: not a C string.
SIZED = {("krait_piece", "text")}

enums, structs, opaque, constants = {}, {}, set(), {}


def fail(what, text):
    sys.exit(f"make_abi.py: {what}: not understood: {text!r}")


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    for name, value in re.findall(r"^#define (KRAIT_\w+)\s+(\d+)\s*$", text, re.M):
        constants[name] = int(value)
    return re.sub(r"^\s*#[^\n]*", "", text, flags=re.M)


def base_type(name):
    if name in SCALARS:
        return SCALARS[name]
    if name in enums:
        return "c_int"
    if name in structs:
        return name
    return None


def kind(declaration, owner, returned=False):
    """The ctypes type of "const char *name" or "uint64_t shape[KRAIT_MAX_DIMS]", and the name."""
    text = " ".join(declaration.split())
    function = re.fullmatch(r"(.+?)\(\*(\w+)\)\((.*)\)", text)
    if function:
        result, name, arguments = function.groups()
        types = [kind(a, owner)[0] for a in arguments.split(",")]
        # A callback's strings are read as they come: bytes of a known length or C strings.
        result_type = "None" if result.strip() == "void" else kind(result + " x", owner)[0]
        return f"CFUNCTYPE({', '.join([result_type] + types)})", name
    match = re.fullmatch(r"(?:const )?(?:struct )?(\w+) ?((?:\*|const| )*) ?(\w+)?((?:\[\w*\])*)", text)
    if not match:
        fail(owner, text)
    name, stars, variable, array = match.groups()
    depth = stars.count("*")
    sizes = re.findall(r"\[(\w*)\]", array)
    if depth == 0:
        result = "None" if name == "void" else base_type(name)
        if result is None:
            fail(owner, text)
    elif depth == 1:
        if name == "char" and (owner, variable) not in SIZED and not (returned and "const" not in text):
            result = "c_char_p"
        elif name in structs:
            result = f"POINTER({name})"
        else:  # handles, and arrays whose address is given as a number
            result = "c_void_p"
    else:
        result = "c_void_p"
    for size in reversed(sizes):
        if not size:
            return "c_void_p", variable
        result = f"{result} * {constants.get(size) or int(size)}"
    return result, variable


def split_fields(body, owner):
    fields = []
    for statement in filter(None, (s.strip() for s in body.split(";"))):
        if "(*" in statement:
            fields.append(kind(statement, owner))
            continue
        first, *more = statement.split(",")
        head = re.match(r"((?:const )?(?:struct )?\w+)\s", first).group(1)
        for part in [first] + [f"{head} {m.strip()}" for m in more]:
            fields.append(kind(part, owner))
    return [(name, type_) for type_, name in fields]


def parse_enum(body, name):
    value, members = 0, []
    for item in filter(None, (i.strip() for i in body.split(","))):
        key, _, given = (s.strip() for s in item.partition("="))
        value = int(given) if given else value
        members.append((key, value))
        value += 1
    enums[name] = members


def main():
    functions, order = [], []
    for header in HEADERS:
        text = without_comments((ROOT / "include" / "krait" / header).read_text())
        text = text.replace('extern "C" {', "")
        at = re.compile(r"typedef enum (\w+) \{(.*?)\} \1;|typedef struct (\w+) \{(.*?)\} \3;|typedef struct (\w+) \5;|KRAIT_API ([^;]+);", re.S)
        left = at.sub("", text)
        if left.replace("}", "").strip():
            fail(header, left.strip()[:200])
        for m in at.finditer(text):
            if m[1]:
                parse_enum(m[2], m[1])
            elif m[3]:
                structs[m[3]] = None
                structs[m[3]] = split_fields(m[4], m[3])
                order.append(m[3])
            elif m[5]:
                opaque.add(m[5])
            else:
                declaration = " ".join(m[6].split())
                parts = re.fullmatch(r"(.+?[ *])(krait_\w+)\((.*)\)", declaration)
                if not parts:
                    fail(header, declaration)
                result, name, arguments = parts.groups()
                restype = kind(result + " x" if not result.endswith("*") else result + "x", name, True)[0]
                if restype == "c_char_p" and "size_t *length" in arguments:  # bytes that may have a NUL in them
                    restype = "c_void_p"
                argtypes = [] if arguments == "void" else [kind(a.strip(), name)[0] for a in arguments.split(",")]
                functions.append((name, restype, argtypes))
    out = ['"""The C API for ctypes. Written by tools/make_abi.py from include/krait/*.h: change those."""',
           "from ctypes import (CFUNCTYPE, POINTER, Structure, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_int64,",
           "                    c_size_t, c_ssize_t, c_uint64, c_void_p)",
           "from typing import Any, Dict, List, Tuple", ""]
    for name, members in enums.items():
        out.append(f"# {name}")
        out += [f"{key} = {value}" for key, value in members]
        out.append("")
    for name in order:
        fields = []
        for field, type_ in structs[name]:
            if type_.startswith("CFUNCTYPE"):  # of a name of its own, for those who make one
                out += ["", f"{name}_{field} = {type_}"]
                type_ = f"{name}_{field}"
            fields.append((field, type_))
        out += ["", f"class {name}(Structure):"]
        wide = [f'        ("{field}", {type_}),' for field, type_ in fields]
        out += ["    _fields_ = ["] + wide + ["    ]", ""]
    out += ["", "# name: (result, arguments)", "FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {"]
    out += [f'    "{name}": ({restype}, [{", ".join(argtypes)}]),' for name, restype, argtypes in functions]
    out += ["}", ""]
    text = "\n".join(out)
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != text:
            sys.exit(f"{TARGET.name} is not what the headers say: run tools/make_abi.py")
        return
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
