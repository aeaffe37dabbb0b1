"""Converts pipeline configs of EasyRec to configs of this package."""

from esmm_jax.easyrec.convert import convert, Converted

__all__ = ['Converted', 'convert']
