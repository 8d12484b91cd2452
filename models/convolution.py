"""The convolution module of a Conformer block."""

from __future__ import annotations

from torch import Tensor, nn


class ConformerConvolution(nn.Module):
    """Pointwise, GLU, depthwise over time, BatchNorm, SiLU, pointwise (Gulati et al. 2020)."""

    def __init__(self, d_model: int, kernel: int, causal: bool = False) -> None:
        super().__init__()
        self.past = kernel - 1 if causal else 0
        self.pointwise_conv1 = nn.Conv1d(d_model, 2 * d_model, 1)
        self.depthwise_conv = nn.Conv1d(
            d_model, d_model, kernel, padding=0 if causal else kernel // 2, groups=d_model
        )
        self.batch_norm = nn.BatchNorm1d(d_model)
        self.activation = nn.SiLU()
        self.pointwise_conv2 = nn.Conv1d(d_model, d_model, 1)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Convolve `x` [batch, time, d_model]; `padding` [batch, time] is True where unused."""
        gated = self.gate(x).masked_fill(padding[:, None, :], 0.0)
        return self.mix(nn.functional.pad(gated, (self.past, 0)) if self.past else gated)

    def gate(self, x: Tensor) -> Tensor:
        """What the depthwise convolution sees: [batch, d_model, time] of [batch, time, d_model]."""
        return nn.functional.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)

    def mix(self, gated: Tensor) -> Tensor:
        """Mix neighbours, then channels.

        Args:
            gated: float [batch, d_model, past + time], with the frames before where the
                convolution is causal.

        Returns:
            float [batch, time, d_model].
        """
        x = self.activation(self.batch_norm(self.depthwise_conv(gated)))
        output: Tensor = self.pointwise_conv2(x)
        return output.transpose(1, 2)
