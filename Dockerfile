# docker build -t dexterank .                           networks on the CPU
# docker build -t dexterank --build-arg TORCH=cuda .    networks on NVIDIA GPUs
# docker run --rm -v "$PWD:/data" -w /data dexterank extract-flow videos/ -o flow/
FROM python:3.12-slim
ARG TORCH=cpu
COPY . /src
RUN sh /src/.ci/install /opt/dexterank "$TORCH" && rm -rf /src
# Numba keeps the compiled TV-L1 engine here; the container's user need not have a home.
ENV NUMBA_CACHE_DIR=/opt/dexterank/cache PYTHONUNBUFFERED=1
RUN mkdir -m 1777 /opt/dexterank/cache
ENTRYPOINT ["/opt/dexterank/bin/pipeline"]
