"""The asynchronous SDK, from which `generate_sync_sdk.py` writes the synchronous modules of `candela`."""
