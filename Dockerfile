# docker build --tag llmd .
# docker run --publish 127.0.0.1:8080:8080 --volume llmd-models:/models llmd serve org/repo:Q4_K_M
#
# For NVIDIA GPUs (run it with --gpus all):
# docker build --tag llmd:cuda \
#     --build-arg BUILD_BASE=nvidia/cuda:12.8.1-devel-ubuntu24.04 \
#     --build-arg RUN_BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 \
#     --build-arg CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_CUDA=ON" .
#
# The bases may be any release of Debian or Ubuntu with Python 3.11 or later, the same one twice: what
# is built on one runs on the other.
ARG BUILD_BASE=debian:trixie-slim
ARG RUN_BASE=debian:trixie-slim

FROM ${BUILD_BASE} AS build
# Without GGML_NATIVE the library runs on any x86-64 of the last ten years (AVX2), and any arm64; for
# the machine that builds it alone, --build-arg CMAKE_ARGS= is faster.
ARG CMAKE_ARGS="-DGGML_NATIVE=OFF"
ARG DEBIAN_FRONTEND=noninteractive
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/llmd
# As pyproject.toml has it, and before that is copied: a change of llmd does not compile it again.
ARG LLAMA_CPP_PYTHON="llama-cpp-python>=0.3.36,<0.4"
RUN /opt/llmd/bin/pip install --no-binary llama-cpp-python "${LLAMA_CPP_PYTHON}"
WORKDIR /src
COPY LICENSE README.md pyproject.toml ./
COPY llmd llmd
RUN /opt/llmd/bin/pip install . \
    && /opt/llmd/bin/pip uninstall --yes pip \
    && /opt/llmd/bin/llmd --version

FROM ${RUN_BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llmd" \
    org.opencontainers.image.description="Serves quantized GGUF models over the OpenAI API" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
ARG DEBIAN_FRONTEND=noninteractive
# A number, so that Kubernetes can see that it is not root; it owns its two directories and no code.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 llmd \
    && useradd --uid 10001 --gid 10001 --home-dir /state --no-create-home --shell /usr/sbin/nologin llmd \
    && install --directory --owner 10001 --group 10001 --mode 0750 /models /state
COPY --from=build /opt/llmd /opt/llmd
# The environment, as it lets every subcommand know, and gives way to flags.
ENV PATH=/opt/llmd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models \
    STATE_DIRECTORY=/state \
    LLMD_SERVER__HOST=0.0.0.0
USER 10001:10001
WORKDIR /state
VOLUME ["/models", "/state"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 CMD ["/opt/llmd/bin/python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('LLMD_SERVER__PORT', '8080')), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/opt/llmd/bin/llmd"]
CMD ["serve"]
