"""Supervision of attempts: leases, heartbeats, timeouts, slots and trainer processes. It never imports torch."""
