"""Particles, microscope and detector, simulated; and a sender that streams them like an instrument."""
