"""The convolution module of a Conformer block."""

from __future__ import annotations

from torch import Tensor, nn


class ConformerConvolution(nn.Module):
    """Pointwise, GLU, depthwise over time, BatchNorm, SiLU, pointwise (Gulati et al. 2020)."""

    def __init__(self, d_model: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(d_model, 2 * d_model, 1)
        self.depthwise_conv = nn.Conv1d(
            d_model, d_model, kernel, padding=kernel // 2, groups=d_model
        )
        self.batch_norm = nn.BatchNorm1d(d_model)
        self.activation = nn.SiLU()
        self.pointwise_conv2 = nn.Conv1d(d_model, d_model, 1)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Convolve `x` [batch, time, d_model]; `padding` [batch, time] is True where unused."""
        x = nn.functional.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)
        x = x.masked_fill(padding[:, None, :], 0.0)
        x = self.activation(self.batch_norm(self.depthwise_conv(x)))
        output: Tensor = self.pointwise_conv2(x)
        return output.transpose(1, 2)
