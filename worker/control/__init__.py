"""Supervises attempts: leases, heartbeats, timeouts, slots and trainer processes. It does not import torch."""
