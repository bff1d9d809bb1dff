# One image for both roles: a coordinator and a hospital differ only in the command they are given.
#
# The build needs no network. On a machine that may download:
#     containers/wheels.sh wheels        (the exact versions of requirements.lock, without the development tools)
# then carry the checkout to the machine that may not, and there:
#     docker build --tag fedcxr:0.1.0 .
# The base image must offer the Python that wheels.sh downloads for (3.11).
ARG BASE=python:3.11-slim-bookworm

# The dependencies come before the code, so that a change to the code costs seconds. The tools that install
# stay behind in these stages: the environment that is shipped has no pip.
FROM ${BASE} AS dependencies
WORKDIR /build
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/build/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY wheels wheels
COPY pyproject.toml requirements.lock ./
# What only compilers and the tests of other projects read is left out. A study's tensors may travel through a bucket,
# so what speaks to one is part of the image.
RUN python3 -m venv tools \
 && tools/bin/pip install --quiet --constraint requirements.lock hatchling \
 && python3 -m venv --without-pip /opt/fedcxr \
 && tools/bin/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["bucket"], sep="\n")' > needed.txt \
 && tools/bin/pip --python /opt/fedcxr/bin/python install --quiet --no-compile --constraint requirements.lock --requirement needed.txt \
 && rm -rf /opt/fedcxr/lib/python3.11/site-packages/torch/include /opt/fedcxr/lib/python3.11/site-packages/torch/test

FROM dependencies AS package
COPY README.md LICENSE cli.py ./
COPY simulation simulation
COPY synthesis synthesis
COPY server server
COPY client client
COPY federation federation
COPY model model
COPY privacy privacy
COPY configs configs
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
 && tools/bin/pip --python /opt/fedcxr/bin/python install --quiet --no-compile --no-deps --prefix /opt/package dist/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="fedcxr" org.opencontainers.image.licenses="Apache-2.0"
# A new named volume takes its owner from the folder it is mounted over, so every mount point is made here.
RUN groupadd --gid 10001 fedcxr \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fedcxr \
 && install -d -o fedcxr -g fedcxr -m 0750 /data /state /public /authority /roster \
      /phantoms /phantoms/hospital-a /phantoms/hospital-b /phantoms/hospital-c
# In use nothing can be written beside the code, so it is compiled now. Some packages carry a file for a newer
# Python, which this one cannot compile and never imports.
COPY --from=dependencies /opt/fedcxr /opt/fedcxr
RUN python3 -m compileall -qq -j 0 /opt/fedcxr/lib || true
COPY --from=package /opt/package /opt/fedcxr
RUN python3 -m compileall -qq -j 0 /opt/fedcxr/lib || true
# The root file system is read-only in use: everything that wants a home gets the container's own /tmp.
ENV PATH=/opt/fedcxr/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /state
ENTRYPOINT ["fedcxr"]
CMD ["hospital", "up", "/etc/fedcxr/site.yaml"]
# Healthy means that the coordinator knows this hospital and that its last round was not its own failure.
HEALTHCHECK --interval=10s --timeout=20s --start-period=120s --retries=3 \
    CMD ["fedcxr", "hospital", "health", "/etc/fedcxr/site.yaml"]
