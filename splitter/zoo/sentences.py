"""An example sentence for encoders with BERT's uncased English vocabulary."""

import torch

LENGTH = 128
_TOKENS = (101, 1037, 3128, 2565, 3216, 2028, 2112, 1997, 1996, 2897, 2006, 2169, 5080, 1012, 102)
"""[CLS] a native program runs one part of the network on each device . [SEP]"""


def example_sentence(length: int = LENGTH) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers and attention mask, 1x``length`` int64 each, padded with zeros."""
    tokens = torch.zeros(1, length, dtype=torch.int64)
    tokens[0, : len(_TOKENS)] = torch.tensor(_TOKENS)
    return tokens, (tokens != 0).to(torch.int64)
