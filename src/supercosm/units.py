"""Units and constants that files and science share: comoving Mpc/h, peculiar km/s, 1e10 Msun/h."""

from __future__ import annotations

CRITICAL_DENSITY = 27.75366277  # 3 (100 km/s/Mpc)² / (8 π G) in 1e10 Msun/h (Mpc/h)^-3, CODATA 2018 / IAU 2015
KPC = 1000.0  # kpc/h in a Mpc/h
CM_PER_MPC = 3.085678e24  # as Gadget's parameter files have it
CM_PER_KM = 1e5
GRAMS = 1.989e43  # in 1e10 Msun, as Gadget's parameter files have it
