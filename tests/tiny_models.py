"""Tiny random models made on the spot: no download, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}a:"
OWN: dict[str, dict[str, Any]] = {
    "stablelm": {"hidden_size": 160, "num_attention_heads": 2, "num_key_value_heads": 2},
    "mistral": {"sliding_window": 16},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
}


def build(
    folder: Path, template: str | None = TEMPLATE, *, kind: str = "llama", hidden: int = 32, positions: int = 128
) -> Path:
    """A two-layer random model over single bytes (ASCII and é), whose embedding table is wider than its tokenizer.

    `kind` is llama (grouped heads), stablelm (heads of 80, rotary on a quarter of them, as Stable Code has it),
    mistral (a sliding window of 16 tokens, which the slot engine cannot hold) or gpt_neo (additive masks).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(char for char in pre_tokenizers.ByteLevel.alphabet() if char in "ĠĊÃ©" or char <= "~")
    tokens = ["<s>", "</s>", "<|im_end|>", *alphabet]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", additional_special_tokens=["<|im_end|>"]
    )
    if template:
        tokenizer.chat_template = template
    import torch

    torch.manual_seed(7)
    shape = {
        "vocab_size": len(tokens) + 5,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": positions,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "initializer_range": 0.6,
    }
    config = AutoConfig.for_model(kind, **(shape | OWN.get(kind, {})))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
