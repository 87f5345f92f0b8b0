"""Checks that the storage of the settings is writable: `python -m core.storage`."""

from core.file_permissions import apply_umask
from core.startup import exit_on_configuration_error, load_settings_or_exit
from core.storage import open_storage, require_storage

if __name__ == "__main__":
    settings = load_settings_or_exit()
    apply_umask(settings.umask)
    with exit_on_configuration_error():
        storage = open_storage(settings.effective_storage_url, cache=settings.cache_dir)
        try:
            require_storage(storage)
        finally:
            storage.close()
