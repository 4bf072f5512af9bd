"""Django's backend for PostgreSQL, whose connects are made as `DATABASES[alias]["RESILIENT"]` says."""
