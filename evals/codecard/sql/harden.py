"""What the judged role may do: read the tables of one database, and nothing else.

Executing the query through a cursor in a read-only transaction (`codecard.sql.session`) keeps out everything but
one SELECT; this module takes away what a SELECT alone could still do through functions: read or write files,
reach other sessions, keep state, run text as SQL, watch what others run.
"""

from __future__ import annotations

from collections.abc import Sequence

ROLE = "codecard_judge"

_CLOSED = (
    r"^(pg_|lo_|binary_upgrade_|txid_|gin_|brin_|dblink|be_lo_|ts_stat|ts_rewrite|has_)",
    r"^(set_config|setseed|setval|nextval|currval|lastval|query_to_xml.*|table_to_xml.*|schema_to_xml.*)$",
    r"^(database_to_xml.*|cursor_to_xml.*|currtid.*|lowrite|loread|row_security_active|current_setting)$",
    r"^(plpgsql_.*|inet_(client|server)_.*|fmgr_.*|amvalidate|suppress_redundant_updates_trigger|test_.*)$",
)
_KEPT = ("pg_typeof", "pg_client_encoding")
"""Harmless, and a query may well ask."""

CLOSE_FUNCTIONS = f"""
DO $close$
DECLARE target regprocedure;
BEGIN
  FOR target IN
    SELECT oid::regprocedure FROM pg_catalog.pg_proc
    WHERE proname ~ '{"|".join(_CLOSED)}' AND proname <> ALL ('{{{",".join(_KEPT)}}}')
      AND pronamespace = 'pg_catalog'::regnamespace
  LOOP
    EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', target);
  END LOOP;
END $close$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
REVOKE ALL ON pg_catalog.pg_largeobject_metadata, pg_catalog.pg_settings, pg_catalog.pg_db_role_setting FROM PUBLIC;
"""
"""Run in a database before its tables are loaded."""


def make_role(password: str | None = None) -> str:
    """SQL that makes the role, or sets it right where it exists; run by a superuser."""
    login = f"LOGIN PASSWORD '{password}'" if password else "LOGIN"
    attributes = f"{login} NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1"
    settings = {
        "idle_in_transaction_session_timeout": "60s",
        "default_transaction_read_only": "on",
        "temp_file_limit": "64MB",
        "max_parallel_workers_per_gather": "0",
        "timezone": "UTC",
        "datestyle": "ISO, MDY",
        "intervalstyle": "postgres",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "jit": "off",
    }
    lines = [
        f"DO $$ BEGIN CREATE ROLE {ROLE}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
        f"ALTER ROLE {ROLE} {attributes};",
        *(f"ALTER ROLE {ROLE} SET {name} = '{value}';" for name, value in settings.items()),
    ]
    return "\n".join(lines)


def grant_reading(database: str, schemas: Sequence[str]) -> str:
    """SQL run in a loaded database: the role reads its tables; nobody else connects, nobody makes anything."""
    lines = [f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC;', f'GRANT CONNECT ON DATABASE "{database}" TO {ROLE};']
    for schema in schemas:
        lines += [
            f'GRANT USAGE ON SCHEMA "{schema}" TO {ROLE};',
            f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO {ROLE};',
        ]
    return "\n".join(lines)
