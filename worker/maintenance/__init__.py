"""Maintenance: releases lost attempts, resends lost messages, deletes expired rows and orphaned files."""
