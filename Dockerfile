# The operator's image. The same with docker and with buildah:
#
#   docker build -t localhost/serinus-operator:0.1.0 .
#
# Every dependency is pinned by version and hash, and comes as a wheel: nothing is compiled, no build tool is fetched.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
RUN python3 -m venv /opt/serinus
# The root file system is read-only at run time, so bytecode is made here; not of the Kubernetes client's typed models,
# which are never loaded and would be half of the image.
COPY requirements/operator.txt /tmp/requirements.txt
RUN /opt/serinus/bin/pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes -r /tmp/requirements.txt \
 && /opt/serinus/bin/pip uninstall --quiet --yes pip setuptools \
 && find /opt/serinus/lib -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -r {} + \
 && /opt/serinus/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x 'kubernetes/(aio|client/(api|models))/' /opt/serinus/lib

FROM ${BASE_IMAGE}
COPY --from=dependencies /opt/serinus /opt/serinus
COPY operator/serinus /opt/serinus/source/serinus
RUN /opt/serinus/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/serinus/source
ENV PYTHONPATH=/opt/serinus/source \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/serinus/bin/python", "-m", "serinus"]
