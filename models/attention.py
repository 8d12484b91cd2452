"""Multi-head self-attention with relative positions (Dai et al. 2019, Transformer-XL)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def relative_positions(frames: int, d_model: int, device: torch.device, past: int = 0) -> Tensor:
    """Sinusoids of the distances past + frames - 1 down to 1 - frames.

    Returns:
        float32 [1, past + 2 * frames - 1, d_model], sines at even and cosines at odd places.
    """
    distance = torch.arange(past + frames - 1, -frames, -1, device=device).to(torch.float32)
    rate = torch.exp(
        torch.arange(0, d_model, 2, device=device).to(torch.float32)
        * (-math.log(10000.0) / d_model)
    )
    angle = distance[:, None] * rate[None, :]
    table = torch.stack([torch.sin(angle), torch.cos(angle)], dim=-1)
    return table.flatten(1).unsqueeze(0)


class RelativePositionalEncoding(nn.Module):
    """The position table of a given number of frames: computed, or cut from a stored one."""

    pe: Tensor

    def __init__(self, d_model: int, max_positions: int | None = None) -> None:
        super().__init__()
        self.d_model = d_model
        self.max_positions = max_positions
        if max_positions is not None:
            table = relative_positions(max_positions, d_model, torch.device("cpu"))
            self.register_buffer("pe", table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Table for `x` [batch, time, d_model]: [1, 2 * time - 1, d_model]."""
        frames = x.shape[1]
        if self.max_positions is None:
            return relative_positions(frames, self.d_model, x.device)
        return self.pe[:, self.max_positions - frames : self.max_positions + frames - 1]


class RelPositionMultiHeadAttention(nn.Module):
    """Scores are (q + u)·k + (q + v)·p, where p belongs to the distance of query and key."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = d_model // heads
        self.linear_q = nn.Linear(d_model, d_model)
        self.linear_k = nn.Linear(d_model, d_model)
        self.linear_v = nn.Linear(d_model, d_model)
        self.linear_out = nn.Linear(d_model, d_model)
        self.linear_pos = nn.Linear(d_model, d_model, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, self.head_size))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, self.head_size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """Attend.

        Args:
            x: float [batch, time, d_model].
            positions: float [1, 2 * time - 1, d_model].
            padding: bool [batch, time], True where a frame does not count.
        """
        return self.attend(x, self.linear_k(x), self.linear_v(x), positions, padding)

    def attend(
        self, x: Tensor, keys: Tensor, values: Tensor, positions: Tensor, padding: Tensor
    ) -> Tensor:
        """Attend to keys that end with the frames of `x` and may begin before them.

        Args:
            x: float [batch, time, d_model].
            keys: float [batch, past + time, d_model], projected.
            values: float [batch, past + time, d_model], projected.
            positions: float [1, past + 2 * time - 1, d_model].
            padding: bool [batch, past + time], True where a frame does not count.
        """
        query = self._split(self.linear_q(x))
        key = self._split(keys).transpose(1, 2)
        value = self._split(values).transpose(1, 2)
        position = self._split(self.linear_pos(positions)).transpose(1, 2)
        with_u = (query + self.pos_bias_u).transpose(1, 2)
        with_v = (query + self.pos_bias_v).transpose(1, 2)
        content = torch.matmul(with_u, key.transpose(-2, -1))
        distance = _relative_shift(torch.matmul(with_v, position.transpose(-2, -1)))
        scores = (content + distance[..., : content.shape[-1]]) / math.sqrt(self.head_size)
        masked = padding[:, None, None, :]
        weights = torch.softmax(scores.masked_fill(masked, -10000.0), dim=-1)
        weights = weights.masked_fill(masked, 0.0)
        context = torch.matmul(self.dropout(weights), value).transpose(1, 2)
        output: Tensor = self.linear_out(context.flatten(2))
        return output

    def _split(self, x: Tensor) -> Tensor:
        """[batch, time, d_model] to [batch, time, heads, head_size]."""
        # Not unflatten: the TorchScript exporter would freeze the example's sizes in it.
        return x.view(x.shape[0], x.shape[1], self.heads, self.head_size)


def _relative_shift(x: Tensor) -> Tensor:
    """Turn columns by distance into columns by key.

    Row i of [batch, heads, time, past + 2 * time - 1] moves left by time - 1 - i: one column of
    zeros in front and a reshape do it without an index (Dai et al. 2019, appendix B).
    """
    batch, heads, rows, columns = x.shape
    padded = nn.functional.pad(x, (1, 0))
    return padded.view(batch, heads, columns + 1, rows)[:, :, 1:].reshape(
        batch, heads, rows, columns
    )
