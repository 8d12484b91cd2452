from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.attention import relative_positions  # noqa: E402
from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.subsampling import subsampled  # noqa: E402
from pydantic import ValidationError  # noqa: E402

SMALL = {"vocabulary": 12, "d_model": 24, "layers": 2, "heads": 3, "ff_dim": 40, "kernel": 7}


def _model(**options: object) -> ConformerCTC:
    torch.manual_seed(0)
    config = ConformerConfig(**{**SMALL, "subsampling_channels": 8, **options})
    model = ConformerCTC(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pos_bias" in name:
                parameter.normal_(std=0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.2)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": "dw_striding", "subsampling_factor": 8},
        {"subsampling_factor": 2, "xscale": False},
        {"max_positions": 120},
    ],
)
def test_an_utterance_in_a_padded_batch_equals_the_same_alone(options: dict[str, object]) -> None:
    model = _model(**options)
    lengths = torch.tensor([203, 150, 97])
    features = torch.randn(3, 80, 203)  # what lies beyond a length is rubbish, not zeros
    with torch.no_grad():
        together, encoded = model(features, lengths)
        for i, length in enumerate(lengths.tolist()):
            alone, count = model(features[i : i + 1, :, :length], lengths[i : i + 1])
            assert count.item() == encoded[i].item() == alone.shape[1]
            torch.testing.assert_close(together[i, : encoded[i]], alone[0], atol=1e-5, rtol=0)


def test_outputs_are_log_probabilities_over_the_tokens_and_the_blank() -> None:
    logprobs, lengths = _model()(torch.randn(2, 80, 64), torch.tensor([64, 40]))
    assert logprobs.shape == (2, 16, 13)
    assert lengths.tolist() == [16, 10]
    torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(2, 16))


@pytest.mark.parametrize("frames", range(1, 40))
def test_lengths_follow_the_convolutions(frames: int) -> None:
    model = _model()
    logprobs, lengths = model(torch.randn(1, 80, frames), torch.tensor([frames]))
    assert logprobs.shape[1] == lengths.item() == subsampled(torch.tensor(frames), 4).item()


def test_relative_attention_agrees_with_the_definition() -> None:
    """Scores by a loop over query and key, with the sinusoid of their distance."""
    model = _model()
    attention = model.encoder.layers[0].self_attn
    frames, heads, size = 6, attention.heads, attention.head_size
    x = torch.randn(1, frames, 24)
    table = relative_positions(frames, 24, x.device)
    with torch.no_grad():
        result = attention(x, table, torch.zeros(1, frames, dtype=torch.bool))
        query, key, value = (
            linear(x)[0].view(frames, heads, size)
            for linear in (attention.linear_q, attention.linear_k, attention.linear_v)
        )
        position = attention.linear_pos(table)[0].view(-1, heads, size)
        context = torch.zeros(frames, heads, size)
        for h in range(heads):
            scores = torch.zeros(frames, frames)
            for i in range(frames):
                for j in range(frames):
                    content = (query[i, h] + attention.pos_bias_u[h]) @ key[j, h]
                    # Row 0 of the table is the distance frames - 1, of the last query to key 0.
                    distance = position[frames - 1 - (i - j), h]
                    scores[i, j] = content + (query[i, h] + attention.pos_bias_v[h]) @ distance
            context[:, h] = torch.softmax(scores / size**0.5, dim=-1) @ value[:, h]
        expected = attention.linear_out(context.reshape(1, frames, -1))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_a_stored_position_table_equals_the_computed_one() -> None:
    computed, stored = _model(), _model(max_positions=64)
    stored.load_state_dict(computed.state_dict())
    features, length = torch.randn(1, 80, 150), torch.tensor([150])
    torch.testing.assert_close(stored(features, length), computed(features, length))


def test_the_shape_of_the_demo_has_the_size_it_claims() -> None:
    config = ConformerConfig(
        vocabulary=28,
        d_model=144,
        layers=4,
        ff_dim=432,
        kernel=15,
        subsampling_channels=64,
    )
    assert ConformerCTC(config).parameter_count() == 1_911_037


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": 5}, "multiple of heads"),
        ({"kernel": 8}, "odd"),
        ({"d_model": 15, "heads": 3}, "even"),
        ({"subsampling": "stacking"}, "striding"),
        ({"depth": 3}, "depth"),
    ],
)
def test_an_impossible_shape_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ConformerConfig(**{**SMALL, **options})
