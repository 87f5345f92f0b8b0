"""Upgrades the database of the settings to the newest schema: `python -m core.db.migrate`, without alembic.ini."""

from core.db.schema import upgrade_schema
from core.startup import load_settings_or_exit

if __name__ == "__main__":
    upgrade_schema(load_settings_or_exit().sqlalchemy_url)
