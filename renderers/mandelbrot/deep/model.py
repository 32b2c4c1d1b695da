"""proto"""
from fractions import Fraction
import numpy as np
from renderers.mandelbrot.deep import bla, layout, native
from renderers.mandelbrot.deep.orbit import *
from renderers.mandelbrot.deep.reach import reaches
from renderers.mandelbrot.deep.scaled import Scaled

class Prepared:
    def __init__(self, orbit, farthest: Scaled):
        re, im = orbit.values.doubles(); n = len(re)
        self.last = n - 1
        self.orbit = np.zeros((n + layout.PADDING, 2)); self.orbit[:n, 0] = 2*re; self.orbit[:n, 1] = 2*im
        L = [l for l in bla.levels(orbit, farthest) if (l.r.m > 0).any()]
        self.starts = np.cumsum([0] + [len(l) for l in L]).astype(np.int64)
        self.table = np.concatenate([np.stack([l.r.doubles(), *l.a.doubles(), *l.b.doubles()], 1) for l in L]) if L else np.zeros((1,5))
        b = n // layout.BLOCK + 4
        self.bounds = np.full((b, 2), -1.0)
        r = reaches(np.sqrt(re*re+im*im), float(farthest)); self.bounds[:len(r), 0] = r
        if L: self.bounds[:len(L[0]), 1] = L[0].r.doubles()
        self.levels = len(L)
        self.c = float(re[1]), float(im[1])

def render(p, xs, ys, counts, smooth, max_iter, r2, stop):
    f = native.perturb()
    W = native.width(native.Target.host()); V = native.GROUPS
    raw = np.zeros(4096); o = (-raw.ctypes.data % 64)//8; st = raw[o:]
    r = f(p.orbit.ctypes.data, p.bounds.ctypes.data, p.table.ctypes.data, p.starts.ctypes.data, xs.ctypes.data, ys.ctypes.data, counts.ctypes.data, smooth.ctypes.data, stop.ctypes.data, st.ctypes.data, p.last, max_iter, p.levels, len(xs), len(ys), r2**.5, *p.c)
    global STATS
    STATS = st[2000:2020].view(np.int64) + (STATS if "STATS" in globals() else 0)
    return r
