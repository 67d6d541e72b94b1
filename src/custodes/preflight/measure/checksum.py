"""A number that stands for a tensor's bits."""

from __future__ import annotations

import torch

__all__ = ["checksum"]


def checksum(tensor: torch.Tensor) -> int:
    """Return a number that changes with every bit of a tensor, and with its order."""
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.numel() == 0 or flat.device.type == "meta":
        return 0
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
        width = torch.int32 if flat.element_size() == 4 else torch.int64
    bits = flat.view(width)
    total = 0
    for part in torch.split(bits, 1 << 22):
        wide = part.to(torch.int64)
        place = torch.arange(1, wide.numel() + 1, device=wide.device, dtype=torch.int64)
        total = (total * 31 + int((wide * (place * 2654435761 % 2147483647)).sum())) % (1 << 61)
    return total
