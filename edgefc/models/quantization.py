"""Quantizations, as the names and headers of GGUF files state them."""

from __future__ import annotations

import re

QUANTIZATION = re.compile(
    r"(?i)(?:^|[-._/])(IQ[1-4]_(?:XXS|XS|S|M|NL)|TQ[12]_0|MXFP4|Q[2-8]_(?:K(?:_[SMLX]{1,2})?|[01](?:_\d_\d)?)|BF16|F16|FP16|F32)"
    r"(?=[-._/]|$)"
)
SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
NO_MODEL = re.compile(r"(?i)mmproj|imatrix|/\.|^\.")  # other files that are named .gguf
UNNAMED = "gguf"  # the quantization of a file whose name states none
# llama.cpp's enum llama_ftype, which a header has as general.file_type.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


def quantization_of(path: str) -> str:
    """Return the quantization that a file's name states, in capitals; UNNAMED when it states none."""
    names = QUANTIZATION.findall(SPLIT.sub(".gguf", path).removesuffix(".gguf"))
    return str(names[-1]).upper() if names else UNNAMED


def quantization_in_header(file_type: object) -> str:
    """Return the quantization that `general.file_type` states; UNNAMED for others."""
    return FILE_TYPES.get(file_type, UNNAMED) if type(file_type) is int else UNNAMED
