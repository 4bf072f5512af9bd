"""Django's backend for MySQL and MariaDB, whose connects are made as `DATABASES[alias]["RESILIENT"]` says."""
