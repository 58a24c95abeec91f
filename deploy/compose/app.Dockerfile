# One of the example apps: APP is a folder of tests/apps, ENVIRONMENT a file of tests/environments.
FROM python:3.13.5-slim-bookworm
ARG APP
ARG ENVIRONMENT
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY tests/environments/${ENVIRONMENT}.txt /requirements.txt
RUN pip install --no-cache-dir --disable-pip-version-check --requirement /requirements.txt
COPY tests/apps/${APP} /app
WORKDIR /app
USER 10002:10002
