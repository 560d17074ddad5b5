# docker build --tag limitlens .
# docker run --rm --read-only --volume limitlens:/data limitlens demo demo
# Tried without docker by: python -m benchmarks.image

FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY package package
COPY data data
COPY features features
COPY models models
COPY limits limits
COPY pipeline pipeline
COPY conf conf
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .
RUN python -m venv --without-pip /opt/limitlens
RUN pip --python /opt/limitlens/bin/python install --no-cache-dir --constraint constraints.txt /dist/*.whl
# shap is for notebooks; without numba, 208 MB with llvmlite, LightGBM does what the kernels do.
RUN pip --python /opt/limitlens/bin/python uninstall --yes shap numba llvmlite
# What no command loads: tests, headers and sources in C of the libraries, an eighth of what is copied below.
RUN find /opt/limitlens/lib -depth -type d '(' -name tests -o -name include ')' -exec rm -r '{}' ';'
RUN find /opt/limitlens/lib -type f -name '*.c' -delete -o -type f -name '*.pyx' -delete -o -type f -name '*.pxd' -delete

FROM python:3.11-slim
# LightGBM's OpenMP runtime, and somebody who owns nothing but the volume.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --home-dir /data limitlens
COPY --from=build /opt/limitlens /opt/limitlens
ENV PATH=/opt/limitlens/bin:$PATH HOME=/data PYTHONDONTWRITEBYTECODE=1
USER 10001
# Also where temporary files go when the root is read-only and there is no tmpfs.
WORKDIR /data
VOLUME /data
HEALTHCHECK --interval=5m --timeout=1m --start-period=5m CMD ["limitlens", "status"]
ENTRYPOINT ["limitlens"]
CMD ["status"]
