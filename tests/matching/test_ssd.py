from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.matching.ssd import Aligner, CommonSize, Resize, common_size, decompose, token_mask
from hmdc_ray.models import ImageShape, Network, Tap, build, vit
from hmdc_ray.seeding import Key, forked

KEY = Key(0, "aligner")


def map_tap(channels: int, height: int, width: int) -> Tap:
    return Tap("", "map", channels, height, width)


VECTOR, MAP, TOKENS = Tap("", "vector", 6, 0, 0), map_tap(5, 4, 6), Tap("", "tokens", 8, 3, 2)


def feature(tap: Tap, batch: int = 2, seed: int = 0) -> Tensor:
    shapes = {
        "map": (tap.channels, tap.height, tap.width),
        "tokens": (1 + tap.height * tap.width, tap.channels),
        "vector": (tap.channels,),
    }
    return torch.randn(batch, *shapes[tap.kind], generator=torch.Generator().manual_seed(seed))


def aligner(taps: list[Tap], size: CommonSize, resize: Resize = "adaptive") -> Aligner:
    with forked(KEY):
        made = Aligner(taps, size, resize)
        if made.mixing is not None:
            made.mixing.data.normal_()
    return made


def test_convnet_and_vision_transformer_at_224() -> None:
    shape = ImageShape(3, 32, 32)
    convnet = build("convnet", {"depth": 3, "width": 128}, shape, 10, Key(0, "network"))
    with forked(Key(1, "network")):
        tiny = vit.vit(ImageShape(3, 224, 224), 10, patch_size=16, width=192, depth=12, heads=3)
        transformer = Network(replace(tiny, input_size=(224, 224)), shape, 10)
    assert len(convnet.taps) == 3 and len(transformer.taps) == 12
    size = common_size([convnet.taps, transformer.taps])
    assert size == CommonSize(layers=3, height=4, width=4, channels=128)

    images_BCHW = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for network, mixes in ((convnet, False), (transformer, True)):
        made = aligner(list(network.taps), size)
        assert (made.mixing is not None) == mixes
        with torch.no_grad():
            assert made(network.observe(images_BCHW).features).shape == (2, 3, 17, 128)
        assert token_mask(network.taps, size).all()


def test_common_size_is_the_least_of_each_over_all_members() -> None:
    assert common_size([[MAP, TOKENS], [TOKENS, VECTOR, MAP]]) == CommonSize(layers=2, height=3, width=2, channels=5)
    assert common_size([[map_tap(7, 2, 9)], [map_tap(9, 8, 3)]]) == CommonSize(layers=1, height=2, width=3, channels=7)
    vectors = common_size([[VECTOR], [VECTOR, VECTOR]])
    assert vectors == CommonSize(layers=1, height=0, width=0, channels=6) and vectors.tokens == 1


def test_decomposition() -> None:
    x = feature(MAP)
    semantic, spatial = decompose(x, MAP)
    assert torch.allclose(semantic, x.mean((2, 3))) and spatial is x
    x = feature(TOKENS)
    semantic, spatial = decompose(x, TOKENS)
    assert spatial is not None and spatial.shape == (2, 8, 3, 2)
    assert torch.equal(semantic, x[:, 0])
    assert all(torch.equal(spatial[:, :, row, column], x[:, 1 + 2 * row + column]) for row in range(3) for column in range(2))
    x = feature(VECTOR)
    assert decompose(x, VECTOR) == (x, None)


def test_masks() -> None:
    size = CommonSize(layers=2, height=2, width=2, channels=4)
    own_taps = token_mask([MAP, VECTOR], size)
    assert own_taps.tolist() == [[True] * 5, [True] + [False] * 4]
    mixed = token_mask([VECTOR, VECTOR, MAP], size)
    assert mixed.all()
    vectors = token_mask([VECTOR, VECTOR, VECTOR], size)
    assert vectors.tolist() == [[True] + [False] * 4] * 2


@pytest.mark.parametrize("spatial", [False, True])
def test_mixing_rows_are_convex_combinations_of_the_members_taps(spatial: bool) -> None:
    made = aligner([MAP, VECTOR, TOKENS, MAP], CommonSize(2, 2, 2, 4))
    weights_LS = made.weights(spatial)
    assert weights_LS.shape == (2, 4)
    assert torch.allclose(weights_LS.sum(1), torch.ones(2))
    assert (weights_LS >= 0).all()
    assert torch.equal(weights_LS[:, 1] == 0, torch.tensor([spatial, spatial]))


def test_the_mixture_starts_as_the_plain_mean() -> None:
    made = Aligner([MAP, MAP, TOKENS], CommonSize(2, 3, 2, 4), "adaptive")
    assert made.mixing is not None and not made.mixing.any()
    assert torch.allclose(made.weights(spatial=True), torch.full((2, 3), 1 / 3))
    features = [feature(MAP), feature(MAP, seed=1), feature(TOKENS)]
    alone = [Aligner([tap], CommonSize(1, 3, 2, 4), "adaptive") for tap in made.taps]
    for single, affine in zip(alone, made.affine, strict=True):
        single.affine[0].load_state_dict(affine.state_dict())
    each = torch.cat([single([part]) for single, part in zip(alone, features, strict=True)], dim=1)
    assert torch.allclose(made(features), each.mean(1, keepdim=True).expand(-1, 2, -1, -1), atol=1e-6)


@pytest.mark.parametrize("resize", ["adaptive", "bilinear"])
def test_one_affine_map_serves_both_parts_of_a_tap(resize: Resize) -> None:
    size = CommonSize(layers=2, height=2, width=2, channels=4)
    made = aligner([MAP, TOKENS], size, resize)
    features = [feature(MAP), feature(TOKENS)]
    aligned = made(features)
    assert aligned.shape == (2, 2, 5, 4)
    for layer, (tap, part) in enumerate(zip(made.taps, features, strict=True)):
        semantic, spatial = decompose(part, tap)
        assert spatial is not None
        small = F.adaptive_avg_pool2d(spatial, 2)
        if resize == "bilinear":
            small = F.interpolate(spatial, (2, 2), mode="bilinear", align_corners=True)
            assert torch.allclose(small[:, :, [0, 0, 1, 1], [0, 1, 0, 1]], spatial[:, :, [0, 0, -1, -1], [0, -1, 0, -1]])
        affine = made.affine[layer]
        assert torch.allclose(aligned[:, layer, 0], affine(semantic))
        assert torch.allclose(aligned[:, layer, 1 + 2 * 1 + 0], affine(small[:, :, 1, 0]), atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_where_squares_cover_a_map_its_mean_is_that_of_the_squares(side: int) -> None:
    tap, size = map_tap(5, 2 * side, 4 * side), CommonSize(layers=1, height=2, width=4, channels=3)
    made = aligner([tap], size).double()
    x = feature(tap).double().requires_grad_()
    tokens = F.avg_pool2d(x, side).flatten(2).transpose(1, 2)
    expected = made.affine[0](torch.cat([x.mean((2, 3))[:, None], tokens], dim=1))
    aligned = made([x])[:, 0]
    assert torch.allclose(aligned, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).double()
    found, wanted = (torch.autograd.grad((part * direction).sum(), x, retain_graph=True)[0] for part in (aligned, expected))
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("resize", ["adaptive", "bilinear"])
@pytest.mark.parametrize("tap", [MAP, TOKENS, VECTOR, map_tap(6, 8, 8)], ids=lambda tap: f"{tap.kind} {tap.height}x{tap.width}")
def test_features_in_bfloat16_are_aligned_in_the_format_of_the_weights(tap: Tap, resize: Resize) -> None:
    made = aligner([tap], CommonSize(1, 2, 2, 4), resize)
    rounded = feature(tap).bfloat16()
    aligned = made([rounded])
    assert aligned.dtype == torch.float32
    # What is averaged in bfloat16 is rounded once more, by at most one part in 256.
    assert torch.allclose(aligned, made([rounded.float()]), rtol=0, atol=0.01)


def test_vector_taps_give_no_spatial_token_and_no_weight_in_a_mixture() -> None:
    size = CommonSize(layers=1, height=2, width=2, channels=4)
    assert not aligner([VECTOR], size)([feature(VECTOR)])[:, :, 1:].any()
    assert not aligner([VECTOR, VECTOR], size)([feature(VECTOR), feature(VECTOR, seed=1)])[:, :, 1:].any()

    mixed, alone = aligner([VECTOR, MAP], size), aligner([MAP], size)
    alone.affine[0].load_state_dict(mixed.affine[1].state_dict())
    first, second = mixed([feature(VECTOR), feature(MAP)]), alone([feature(MAP)])
    assert torch.allclose(first[:, :, 1:], second[:, :, 1:], atol=1e-6)
    assert not torch.allclose(first[:, :, :1], second[:, :, :1])


def test_pools_of_vectors_have_semantic_tokens_only() -> None:
    size = common_size([[VECTOR], [VECTOR, VECTOR]])
    assert aligner([VECTOR], size)([feature(VECTOR)]).shape == (2, 1, 1, 6)
    assert aligner([VECTOR, VECTOR], size)([feature(VECTOR)] * 2).shape == (2, 1, 1, 6)
