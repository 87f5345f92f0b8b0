# syntax=docker/dockerfile:1
# The service as images: `--target api` answers HTTP, `--target worker` trains.
#
# TORCH_INDEX_URL chooses the build of PyTorch: empty takes the usual index's, which has CUDA; the address of
# PyTorch's CPU index makes images that are a few gigabytes smaller and train on processors only.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/candela
ENV PATH=/opt/candela/bin:$PATH
WORKDIR /src
# torch first and alone: its layer outlives every change of ours.
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch torchvision
COPY pyproject.toml README.md ./
COPY app ./app
COPY worker ./worker
COPY models ./models
COPY core ./core
COPY candela ./candela
COPY migrations ./migrations
RUN pip install -c constraints.txt '.[otel]'

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN useradd --system --uid 10001 --user-group --create-home candela \
    && install -d -o candela -g candela /var/lib/candela
COPY --from=build /opt/candela /opt/candela
COPY alembic.ini /srv/candela/
COPY migrations /srv/candela/migrations
ENV PATH=/opt/candela/bin:$PATH PYTHONUNBUFFERED=1 CANDELA_HOME=/var/lib/candela
WORKDIR /srv/candela
USER candela
VOLUME /var/lib/candela

FROM runtime AS api
EXPOSE 8000
ENV CANDELA_HOST=0.0.0.0 CANDELA_PORT=8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
# Requests in flight get twenty seconds when the container stops.
CMD ["python", "-m", "candela.serve", "0.0.0.0:8000"]

FROM runtime AS worker
# Threads only wait for trainers: two more than CANDELA_SLOTS.
CMD ["celery", "-A", "worker.main", "worker", "-P", "threads", "-c", "3", "-Q", "train,import", \
     "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
