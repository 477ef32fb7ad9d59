# The steps live in docker/install.sh, which a test runs without Docker.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements/ requirements/
COPY docker/install.sh docker/install.sh
RUN sh docker/install.sh dependencies /opt/headgate
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src/ src/
RUN sh docker/install.sh headgate /opt/headgate

FROM python:3.11-slim-bookworm
# A named volume takes over the mode and the owner that /data has here; Headgate asks for 0700.
RUN groupadd --gid 65532 headgate \
    && useradd --uid 65532 --gid 65532 --home-dir /data --no-create-home --shell /usr/sbin/nologin headgate \
    && install --directory --owner=65532 --group=65532 --mode=0700 /data
COPY --from=build /opt/headgate /opt/headgate
COPY docker/ready.py /opt/headgate/ready.py
ENV PATH=/opt/headgate/bin:$PATH \
    HEADGATE_HOME=/data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 4400
# Stopping lets running requests finish: give it as long as [server] drain_s (docker run --stop-timeout 40).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "/opt/headgate/ready.py"]
CMD ["headgate", "serve", "--host", "0.0.0.0"]
