# syntax=docker/dockerfile:1
# Images of the service: `--target api` is the HTTP service, `--target worker` the Celery worker.
#
# TORCH_INDEX_URL selects the build of PyTorch. Empty: the CUDA build of the default index. The address of PyTorch's
# CPU index: images that are a few gigabytes smaller and use only CPUs.
#
# EXTRAS selects the optional packages: traces (otel), weights of efficientnet_lite0 (pretrained), variants (serving).
#
# REVISION is the id of the commit, which the lineage of models names: --build-arg REVISION="$(git rev-parse HEAD)".

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_INDEX_URL=""
ARG EXTRAS="otel,pretrained,serving"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/candela
ENV PATH=/opt/candela/bin:$PATH
WORKDIR /srv/candela
# torch is installed first, so that its layer stays cached when the source changes.
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch torchvision
COPY pyproject.toml README.md hatch_build.py alembic.ini ./
COPY app ./app
COPY worker ./worker
COPY models ./models
COPY core ./core
COPY candela ./candela
COPY migrations ./migrations
COPY docs/reference/problems.md ./docs/reference/problems.md
# The service is an editable installation: a wheel contains the client only.
ARG REVISION=""
RUN if [ -n "$REVISION" ]; then echo "$REVISION" > REVISION; fi
RUN pip install -c constraints.txt -e ".[$EXTRAS]"

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN useradd --system --uid 10001 --user-group --create-home candela \
    && install -d -m 700 -o candela -g candela /var/lib/candela
COPY --from=build /opt/candela /opt/candela
COPY --from=build /srv/candela /srv/candela
ENV PATH=/opt/candela/bin:$PATH PYTHONUNBUFFERED=1 CANDELA_HOME=/var/lib/candela
WORKDIR /srv/candela
USER candela
VOLUME /var/lib/candela

FROM runtime AS api
EXPOSE 8000
ENV CANDELA_HOST=0.0.0.0 CANDELA_PORT=8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
# When the container stops, active requests have twenty seconds to complete.
CMD ["candela", "serve"]

FROM runtime AS worker
# CANDELA_SLOTS is the number of concurrent trainings.
CMD ["candela", "worker"]
