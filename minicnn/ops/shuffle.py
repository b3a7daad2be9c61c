"""Channels exchanged for places, and among each other: all of it reshapes and permutations."""

from ..engine import Tensor

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Images r times larger out of r² times as many channels: (..., C·r², H, W) → (..., C, H·r, W·r).

    y[c, h·r + i, w·r + j] = x[c·r² + i·r + j, h, w]; gx = pixel_unshuffle(gy). Raises RuntimeError for fewer than 3
    axes, and for channels that r² does not divide. Shi et al. 2016.
    """
    r = int(upscale_factor)
    if r < 1:
        raise RuntimeError(f"pixel_shuffle: upscale_factor = {r!r} must be an integer of at least 1")
    if input.ndim < 3 or input.shape[-3] % r ** 2:
        raise RuntimeError(f"pixel_shuffle: input of shape {input.shape} must be (..., C·{r}², H, W)")
    *batch, channels, height, width = input.shape
    x = input.reshape(*batch, channels // r ** 2, r, r, height, width)
    return _interleaved(x, -2, -4, -1, -3).reshape(*batch, channels // r ** 2, height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of pixel_shuffle, (..., C, H·r, W·r) → (..., C·r², H, W).

    y[c·r² + i·r + j, h, w] = x[c, h·r + i, w·r + j]; gx = pixel_shuffle(gy). Raises RuntimeError for fewer than 3 axes,
    and for sizes that r does not divide. Shi et al. 2016.
    """
    r = int(downscale_factor)
    if r < 1:
        raise RuntimeError(f"pixel_unshuffle: downscale_factor = {r!r} must be an integer of at least 1")
    if input.ndim < 3 or input.shape[-2] % r or input.shape[-1] % r:
        raise RuntimeError(f"pixel_unshuffle: input of shape {input.shape} must be (..., C, H·{r}, W·{r})")
    *batch, channels, height, width = input.shape
    x = input.reshape(*batch, channels, height // r, r, width // r, r)
    return _interleaved(x, -3, -1, -4, -2).reshape(*batch, channels * r ** 2, height // r, width // r)


def _interleaved(x: Tensor, *last: int) -> Tensor:
    """The last four axes in another order."""
    return x.permute(*range(x.ndim - 4), *[x.ndim + i for i in last])


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels dealt out anew, first one of each group, then the second of each: (N, C, ...) → (N, C, ...).

    y[n, k·groups + g] = x[n, g·C/groups + k]; gx[n, g·C/groups + k] = gy[n, k·groups + g]. Raises RuntimeError for
    fewer than 3 axes, and for groups that do not divide C. Zhang et al. 2018.
    """
    groups = int(groups)
    if groups < 1:
        raise RuntimeError(f"channel_shuffle: groups = {groups!r} must be an integer of at least 1")
    if input.ndim < 3 or input.shape[1] % groups:
        raise RuntimeError(f"channel_shuffle: input of shape {input.shape} must be (N, C, ...) with at least 3 axes, "
                           f"and C a multiple of groups = {groups}")
    return input.unflatten(1, (groups, input.shape[1] // groups)).transpose(1, 2).reshape(input.shape)
