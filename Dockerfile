# One image for gateway and worker; the command chooses. Build with --build-arg EXTRA=gpu for CUDA machines.
FROM python:3.11-slim-bookworm AS build
ARG EXTRA=cpu
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/crosswalk
ENV PATH=/opt/crosswalk/bin:$PATH
COPY constraints.txt ./
# The CPU image takes PyTorch's CPU build: the default one carries gigabytes of CUDA.
RUN if [ "$EXTRA" = cpu ]; then \
        pip install --constraint constraints.txt --index-url https://download.pytorch.org/whl/cpu torch; \
    else \
        pip install --constraint constraints.txt torch; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY workers workers
COPY models models
COPY migrations migrations
RUN pip install --constraint constraints.txt ".[$EXTRA]"

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 crosswalk \
    && install --directory --owner crosswalk --group crosswalk /data
COPY --from=build /opt/crosswalk /opt/crosswalk
ENV PATH=/opt/crosswalk/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CROSSWALK_DATA_DIR=/data \
    CROSSWALK_LOG_FORMAT=json
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# Reached from other machines, the service needs a key to begin with: CROSSWALK_ADMIN_KEY, or CROSSWALK_ADMIN_KEY_FILE
# for a mounted secret, or one made on the volume by `crosswalk keys create`.
CMD ["crosswalk", "serve", "--host", "0.0.0.0", "--port", "8000"]
