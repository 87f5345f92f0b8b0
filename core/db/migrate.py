"""Upgrades the database of the settings to the newest schema: `python -m core.db.migrate`, without alembic.ini."""

from core.db.schema import upgrade_schema
from core.file_permissions import apply_umask
from core.startup import exit_on_configuration_error, load_settings_or_exit

if __name__ == "__main__":
    settings = load_settings_or_exit()
    apply_umask(settings.umask)
    with exit_on_configuration_error():
        upgrade_schema(settings.sqlalchemy_url)
