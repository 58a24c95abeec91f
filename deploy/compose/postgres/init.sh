#!/bin/sh
# Runs once, when the database is new: two databases of the apps' user, and a user for the gateway who may
# only read. It may read every table that the apps make; in production grant the single tables and
# columns that README.md names under "Rights in the app's database".
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  --set app_password="$(cat "${SECRETS:-/run/secrets}/app_password")" \
  --set reader_password="$(cat "${SECRETS:-/run/secrets}/reader_password")" <<'SQL'
CREATE USER app PASSWORD :'app_password';
CREATE USER portcullis PASSWORD :'reader_password';
CREATE DATABASE pages OWNER app;
CREATE DATABASE tickets OWNER app;
REVOKE CONNECT ON DATABASE pages, tickets FROM PUBLIC;
GRANT CONNECT ON DATABASE pages, tickets TO portcullis;
\connect pages
ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES TO portcullis;
\connect tickets
ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES TO portcullis;
SQL
