"""Exit waves as arrays: resampling, and the half-precision form in which they are stored."""

import numpy as np
from numpy.typing import NDArray


def resample(waves: NDArray[np.complex64], pixels: int) -> NDArray[np.complex64]:
    """Resample periodic square waves (…, n, n) to (…, pixels, pixels) through their spectrum.

    Values keep their scale. Both sizes must be even; frequencies that only one of the grids holds are dropped
    or zero.
    """
    size = waves.shape[-1]
    both = min(size, pixels)
    source = slice(size // 2 - both // 2, size // 2 + both // 2)
    target = slice(pixels // 2 - both // 2, pixels // 2 + both // 2)
    spectrum = np.fft.fftshift(np.fft.fft2(waves), axes=(-2, -1))
    moved = np.zeros((*waves.shape[:-2], pixels, pixels), np.complex64)
    moved[..., target, target] = spectrum[..., source, source]
    result = np.fft.ifft2(np.fft.ifftshift(moved, axes=(-2, -1))) * (pixels / size) ** 2
    return np.asarray(result, dtype=np.complex64)


def pack(waves: NDArray[np.complex64]) -> NDArray[np.float16]:
    """Store complex waves (…) as half-precision pairs (…, 2)."""
    return np.stack([waves.real, waves.imag], axis=-1).astype(np.float16)


def unpack(pairs: NDArray[np.float16]) -> NDArray[np.complex64]:
    """Return the complex waves of :func:`pack`."""
    wide = pairs.astype(np.float32)
    return np.asarray(wide[..., 0] + 1j * wide[..., 1], dtype=np.complex64)
