# Airflow with Nightshift inside: code and libraries of one version in one image, so that a deployment is a new
# image and never a half-updated folder. Base images are build arguments, for mirrors and offline sites.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE} AS build

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/requirements.txt
# An index of your own, where one is needed; empty: pip's default.
ARG PIP_INDEX_URL=
ARG PIP_TRUSTED_HOST=
RUN python3 -m venv /opt/airflow-venv \
    && /opt/airflow-venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
        -r /tmp/requirements.txt \
    && /opt/airflow-venv/bin/pip check --disable-pip-version-check
# What a site needs beside it, e.g. for a store in S3 (docs/operations.md, "The store"). Airflow and the providers
# stay as they are locked; a library under them may move, where the extra package asks for another version.
ARG EXTRA_PACKAGES=
RUN if [ -n "${EXTRA_PACKAGES}" ]; then \
        /opt/airflow-venv/bin/pip freeze | grep -i '^apache-airflow' > /tmp/airflow.txt \
        && /opt/airflow-venv/bin/pip install --no-cache-dir --disable-pip-version-check \
            --constraint /tmp/airflow.txt ${EXTRA_PACKAGES} \
        && /opt/airflow-venv/bin/pip check --disable-pip-version-check; \
    fi

FROM ${BASE_IMAGE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
    && install -d -o airflow -g airflow /opt/airflow/logs /opt/airflow/store /opt/airflow/auth
COPY --from=build /opt/airflow-venv /opt/airflow-venv
COPY dags /opt/nightshift/dags
COPY plugins /opt/nightshift/plugins
COPY include /opt/nightshift/include
# Incident reports quote the page that helps.
COPY docs/runbooks /opt/nightshift/docs/runbooks
# The cluster files: include/clusters, or clusters of this checkout (what .dockerignore lets in). They are part of the image, like the code that reads them.
ARG CLUSTERS=include/clusters
COPY ${CLUSTERS} /opt/nightshift/clusters
ENV PATH=/opt/airflow-venv/bin:/usr/local/bin:/usr/bin:/bin \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/nightshift/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/nightshift/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    NIGHTSHIFT_CLUSTERS=/opt/nightshift/clusters \
    PYTHONPATH=/opt/nightshift/plugins \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONWARNINGS=ignore:GitWildMatchPattern:DeprecationWarning \
    PYTHONUNBUFFERED=1
USER airflow
WORKDIR /opt/airflow
ENTRYPOINT ["airflow"]
CMD ["version"]
